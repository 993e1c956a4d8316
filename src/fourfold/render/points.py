"""Channels that are wanted at a few positions of an image only: the question, and its plain answer from channels drawn over the whole image.

The compiled rasterizer blends them at those positions alone (`kernels/points.cpp`); every other backend goes the plain way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.geometry.gaussians import Gaussians
from fourfold.render.api import Render


@dataclass(frozen=True)
class AtPoints:
    """Values of the N Gaussians that are to be blended at P positions.

    Attributes:
        pixels: (P, 2) positions in the image, pixel centres at +0.5; read bilinearly between the four pixels around, the border repeats.
        values: (K, N, D), K groups of D numbers.
    """

    pixels: Tensor
    values: Tensor

    @property
    def width(self) -> int:
        """How many channels these are."""
        return self.values.shape[0] * self.values.shape[2]


def check_points(points: AtPoints, gaussians: Gaussians) -> None:
    """Refuse what does not fit.

    Raises:
        FourfoldError: a shape, told as got and expected.
    """
    if points.pixels.ndim != 2 or points.pixels.shape[1] != 2:
        raise FourfoldError(f"rasterize got pixels of points of shape {tuple(points.pixels.shape)}, expected (P, 2)")
    if points.values.ndim != 3 or points.values.shape[1] != len(gaussians) or points.width > 64:
        raise FourfoldError(
            f"rasterize got values at points of shape {tuple(points.values.shape)}, expected (K, {len(gaussians)}, D), K D at most 64"
        )


def with_points(channels: Tensor | None, points: AtPoints) -> Tensor:
    """(N, C + K D) channels that hold the values too."""
    values = points.values.transpose(0, 1).flatten(1)
    return values if channels is None else torch.cat([channels, values], dim=1)


def points_taken(render: Render, points: AtPoints) -> Render:
    """`render` with the channels of `with_points` in its last place read and removed."""
    if render.channels is None:
        raise ValueError("the channels of the points were not drawn")
    kept = render.channels.shape[-1] - points.width
    read = read_points(render.channels[..., kept:], render.alpha, points.pixels)
    return replace(render, channels=render.channels[..., :kept] if kept else None, points=read)


def read_points(channels: Tensor, alpha: Tensor, pixels: Tensor) -> Tensor:
    """(P, C + 1) the `channels` (H, W, C) and then `alpha` (H, W) at `pixels` (P, 2)."""
    places, shares = bilinear_taps(pixels.to(alpha.dtype), *alpha.shape)
    read = (channels.flatten(0, 1)[places] * shares[..., None]).sum(1)
    return torch.cat([read, (alpha.flatten()[places] * shares).sum(1, keepdim=True)], dim=1)


def bilinear_taps(pixels: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Rows (P, 4) of the flattened image around each of `pixels` (P, 2), centres at +0.5, and their shares (P, 4); the border repeats."""
    x = (pixels[:, 0] - 0.5).clamp(0, width - 1)
    y = (pixels[:, 1] - 0.5).clamp(0, height - 1)
    left, top = x.floor(), y.floor()
    u, v = x - left, y - top
    column, row = left.long(), top.long()
    right, below = (column + 1).clamp_max(width - 1), (row + 1).clamp_max(height - 1)
    places = torch.stack([row * width + column, row * width + right, below * width + column, below * width + right], dim=1)
    return places, torch.stack([(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v], dim=1)
