"""Which points to follow when nobody says: a grid over what moves."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.export.paths import View
from fourfold.render.api import rasterize
from fourfold.scene.scene import Scene


def moving_grid(scene: Scene, query: View, spacing: int, share: float = 0.5) -> Tensor:
    """(P, 2) pixels `spacing` apart at which Gaussians of dynamic layers make at least `share` of the picture.

    Raises:
        FourfoldError: nothing moves in this picture, or it is too small for the spacing.
    """
    time, camera = query
    with torch.no_grad():
        gaussians = scene.at(time)
        drawn = rasterize(gaussians, replace(camera, near=scene.near), channels=scene.dynamic_rows()[:, None]).channels
    if drawn is None:
        raise FourfoldError("the rasterizer returned no channels")
    ys, xs = torch.meshgrid(torch.arange(spacing // 2, camera.height, spacing), torch.arange(spacing // 2, camera.width, spacing), indexing="ij")
    chosen = drawn[ys, xs, 0] >= share
    if not bool(chosen.any()):
        raise FourfoldError("nothing moves in this frame of the scene: name points with --points X Y")
    return torch.stack([xs[chosen], ys[chosen]], dim=-1) + 0.5
