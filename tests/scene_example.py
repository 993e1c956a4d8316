"""A scene of three layers with different motion."""

import torch

from fourfold.scene.motion.linear import Linear
from fourfold.scene.motion.se3_bases import SE3Bases
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import Layer, Scene


def example() -> Scene:
    generator = torch.Generator().manual_seed(0)

    def splats(n: int) -> dict[str, torch.Tensor]:
        shapes = {"means": (n, 3), "quat_wxyz": (n, 4), "log_scale": (n, 3), "opacity_logit": (n,), "color_logit": (n, 3), "sh_rest": (n, 3, 3)}
        return {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()}

    free = splats(2) | {"velocity": torch.ones(2, 3), "time_center": torch.zeros(2), "log_duration": torch.zeros(2)}
    bases = {"rotation6d": torch.randn(2, 4, 6, generator=generator), "translation": torch.randn(2, 4, 3, generator=generator)}
    fixed = {"knots": torch.linspace(0, 1, 4), "pivot": torch.zeros(3)}
    layers = [
        Layer("static", "static", Static(), splats(5)),
        Layer("object", "dynamic", SE3Bases(), splats(3) | {"motion_logits": torch.randn(3, 2, generator=generator)}, bases, fixed),
        Layer("free", "dynamic", Linear(), free),
    ]
    layers[0].splats["means"].requires_grad_()
    return Scene(layers, (0.0, 1.0), scale=0.25, background=(1.0, 0.5, 0.0), up=(0.0, 0.0, 1.0), near=0.05)
