"""Two-view geometry in float64: essential and fundamental matrices, Sampson error."""

from __future__ import annotations

import torch
from torch import Tensor

from fourfold.geometry.rigid import inverse
from fourfold.geometry.rotations import skew


def essential_matrix(world_to_camera_1: Tensor, world_to_camera_2: Tensor) -> Tensor:
    """(..., 3, 3) float64 E with ray_2^T E ray_1 = 0 for rays to one point, in the axes of either camera.

    A zero matrix where both cameras stand at the same place: then there is no epipolar geometry.
    """
    relative = world_to_camera_2.double() @ inverse(world_to_camera_1.double())
    return skew(relative[..., :3, 3]) @ relative[..., :3, :3]


def fundamental_matrix(K_1: Tensor, world_to_camera_1: Tensor, K_2: Tensor, world_to_camera_2: Tensor) -> Tensor:
    """(..., 3, 3) float64 F with [xy_2, 1] F [xy_1, 1]^T = 0 for pixels of one point. Cameras (..., 3, 3) and (..., 4, 4)."""
    essential = essential_matrix(world_to_camera_1, world_to_camera_2)
    return torch.linalg.inv(K_2.double()).transpose(-1, -2) @ essential @ torch.linalg.inv(K_1.double())


def sampson_error(fundamental: Tensor, xy_1: Tensor, xy_2: Tensor) -> Tensor:
    """(...) float64 pixels: to first order, how far the pair of pixels must move together to obey the epipolar constraint.

    Hartley and Zisserman, Multiple View Geometry, section 11.4.3 (its square root).

    Args:
        fundamental: (..., 3, 3), broadcast over the pairs.
        xy_1, xy_2: (..., 2) pixels in the first and the second image.
    """
    one, two = _homogeneous(xy_1), _homogeneous(xy_2)
    matrix = fundamental.double()
    line_2 = (matrix @ one[..., None]).squeeze(-1)
    line_1 = (matrix.transpose(-1, -2) @ two[..., None]).squeeze(-1)
    residual = (two * line_2).sum(-1).abs()
    slope = line_1[..., :2].square().sum(-1) + line_2[..., :2].square().sum(-1)
    return residual / slope.sqrt().clamp_min(torch.finfo(torch.float64).tiny)


def _homogeneous(xy: Tensor) -> Tensor:
    xy = xy.double()
    return torch.cat([xy, torch.ones_like(xy[..., :1])], dim=-1)
