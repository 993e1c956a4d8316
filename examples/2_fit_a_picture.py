"""The rasterizer in a training loop of your own: a picture becomes 400 Gaussians.

python examples/2_fit_a_picture.py out [picture.png]
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import fourfold
from fourfold.export.video import to_uint8, write_png
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians


def a_picture(width: int = 96, height: int = 64) -> torch.Tensor:
    """(H, W, 3) a sun over hills, in [0, 1]."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1.5, width), indexing="ij")
    sky = torch.stack([0.4 + 0.5 * y, 0.6 + 0.2 * y, 0.9 - 0.2 * y], dim=-1)
    hills = torch.tensor([0.2, 0.45, 0.2]) * (1.2 - 0.5 * y[..., None])
    picture = torch.where((y > 0.65 + 0.1 * torch.sin(5 * x))[..., None], hills, sky)
    return torch.where(((x - 1.1) ** 2 + (y - 0.25) ** 2 < 0.02)[..., None], torch.tensor([1.0, 0.85, 0.3]), picture)


def main(out: Path, picture: Path | None = None, steps: int = 100) -> tuple[float, float]:
    """Fit the picture and write `fitted.png`; returns PSNR in dB before and after."""
    target = a_picture() if picture is None else torch.from_numpy(np.asarray(Image.open(picture).convert("RGB"))).float() / 255
    height, width = target.shape[:2]
    camera = Camera(torch.tensor([[1.0 * width, 0, width / 2], [0, 1.0 * width, height / 2], [0, 0, 1]]), torch.eye(4), width, height)
    torch.manual_seed(0)
    count = 400
    values = {
        "means": torch.rand(count, 3) * torch.tensor([1.0, height / width, 0.1]) + torch.tensor([-0.5, -0.5 * height / width, 1.0]),
        "quat_wxyz": torch.randn(count, 4),
        "log_scale": torch.full((count, 3), 0.03).log(),
        "opacity_logit": torch.zeros(count),
        "color": torch.rand(count, 3),
    }
    parameters = {name: value.requires_grad_() for name, value in values.items()}
    optimizer = torch.optim.Adam([{"params": [p], "lr": 0.003 if name == "means" else 0.03} for name, p in parameters.items()])
    scores = []
    for step in range(steps + 1):
        color = fourfold.rasterize(Gaussians(**parameters), camera).color
        loss = (color - target).square().mean()
        if step in (0, steps):
            scores.append(float(-10 * loss.detach().log10()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    write_png(out / "fitted.png", to_uint8(torch.cat([target, color], dim=1)))
    print(f"PSNR {scores[0]:.1f} dB before, {scores[1]:.1f} dB after {steps} steps")
    return scores[0], scores[1]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
