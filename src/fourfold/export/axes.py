"""From the scene's own axes to those that other programs expect: right-handed, up along y or z."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fourfold.scene.scene import Scene


def y_up(scene: Scene) -> Tensor:
    """(3, 3) rotation of the scene's coordinates that turns `scene.up` to +y the shortest way; about x where it points down."""
    up = torch.nn.functional.normalize(torch.tensor(scene.up, dtype=torch.float64), dim=0)
    across, along = torch.linalg.cross(up, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)), float(up[1])
    if along < -1 + 1e-9:
        return torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    x, y, z = across.tolist()
    skew = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return torch.eye(3, dtype=torch.float64) + skew + skew @ skew / (1 + along)


def z_up(scene: Scene) -> Tensor:
    """(3, 3) rotation that turns `scene.up` to +z: y up, then a quarter turn about x."""
    quarter = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64)
    return quarter @ y_up(scene)


def metres(scene: Scene) -> float:
    """Metres per unit, 1 where the scene does not know."""
    return 1.0 if scene.scale is None or not math.isfinite(scene.scale) or scene.scale <= 0 else scene.scale
