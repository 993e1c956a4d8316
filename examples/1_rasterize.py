"""Draw Gaussians of your own: no capture, no recipe, one call.

python examples/1_rasterize.py out
"""

import sys
from pathlib import Path

import torch

import fourfold
from fourfold.export.video import to_uint8, write_png
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians


def ring(count: int = 60) -> Gaussians:
    """A ring of coloured beads of radius 1 about the point (0, 0, 4), leaning backwards; axes are x right, y down, z forward."""
    angle = torch.linspace(0, 2 * torch.pi, count + 1)[:-1]
    means = torch.stack([angle.cos(), 0.5 * angle.sin(), 4 + 0.8 * angle.sin()], dim=1)
    return Gaussians(
        means=means,
        quat_wxyz=torch.tensor([1.0, 0, 0, 0]).expand(count, 4),
        log_scale=torch.full((count, 3), 0.06).log(),
        opacity_logit=torch.full((count,), 3.0),
        color=0.5 + 0.5 * torch.stack([angle.cos(), (angle - 2).cos(), (angle + 2).cos()], dim=1),
    )


def main(out: Path) -> torch.Tensor:
    """Write `ring.png` and `depth.png`; returns the (H, W, 3) picture."""
    K = torch.tensor([[400.0, 0, 160], [0, 400.0, 120], [0, 0, 1]])
    camera = Camera(K, world_to_camera=torch.eye(4), width=320, height=240)
    render = fourfold.rasterize(ring(), camera, background=torch.tensor([0.05, 0.05, 0.1]))
    write_png(out / "ring.png", to_uint8(render.color))
    nearness = ((5 - render.depth) / 2).clamp(0, 1) * (render.alpha > 0.5)
    write_png(out / "depth.png", to_uint8(nearness))
    return render.color


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
