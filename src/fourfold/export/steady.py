"""Which Gaussians a film of the scene needs: the same ones in every frame, so that a row of a file is one Gaussian all along."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fourfold.scene.scene import Scene
from fourfold.splats.drawn import drawn


def steady_rows(scene: Scene, times: Sequence[float]) -> Tensor:
    """(N,) bool: rows of `scene.at` that are visible at any of `times` and finite at all of them."""
    count = sum(len(layer) for layer in scene.layers)
    ever, finite = torch.zeros(count, dtype=torch.bool), torch.ones(count, dtype=torch.bool)
    with torch.no_grad():
        for time in times:
            now = scene.at(time)
            ever[drawn(now)[0]] = True
            finite &= torch.cat([now.means, now.quat_wxyz, now.log_scale], dim=1).isfinite().all(dim=1).cpu()
    return ever & finite
