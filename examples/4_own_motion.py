"""A motion model of your own: a class with `kind` and `at` is all that a scene asks for.

python examples/4_own_motion.py out
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

import fourfold
from fourfold.export.video import to_uint8, write_mp4
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.scene import DYNAMIC, Layer, Scene


@dataclass(frozen=True)
class Swing:
    """Every Gaussian swings about its own place: mean + reach * sin(2 pi t / period + phase). Reads the splats `reach` and `phase`."""

    kind: ClassVar[str] = "swing"
    period: float = 2.0  # seconds

    def at(self, layer: Layer, times: Tensor) -> list[Gaussians]:
        """Gaussians at each of `times` (K,), seconds."""
        still, splats = layer.canonical(), layer.splats
        waves = torch.sin(2 * torch.pi * times[:, None] / self.period + splats["phase"])
        return [replace(still, means=splats["means"] + wave[:, None] * splats["reach"]) for wave in waves]


def main(out: Path) -> Scene:
    """Write `swing.mp4`; returns the scene. A model kept in `scene/motion/` is also found by scene files and by training."""
    count = 80
    place = torch.linspace(-1, 1, count)
    splats = {
        "means": torch.stack([1.4 * place, torch.zeros(count), torch.full((count,), 4.0)], dim=1),
        "quat_wxyz": torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        "log_scale": torch.full((count, 3), 0.05).log(),
        "opacity_logit": torch.full((count,), 3.0),
        "color_logit": torch.stack([3 * place, 1 - 2 * place.abs(), -3 * place], dim=1),
        "phase": 6 * place,
        "reach": torch.tensor([0.0, 0.5, 0.0]).repeat(count, 1),
    }
    scene = Scene([Layer("string", DYNAMIC, Swing(), splats)], time_range=(0.0, 2.0))
    camera = Camera(torch.tensor([[300.0, 0, 120], [0, 300.0, 80], [0, 0, 1]]), torch.eye(4), 240, 160)
    frames = [to_uint8(fourfold.rasterize(scene.at(k / 24), camera).color) for k in range(48)]
    write_mp4(out / "swing.mp4", frames, fps=24)
    return scene


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
