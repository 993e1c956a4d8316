"""Rigid transforms SE(3) as (..., 4, 4) matrices. Batched, differentiable."""

from __future__ import annotations

import torch
from torch import Tensor

from fourfold.geometry.rotations import SMALL_ANGLE, skew, so3_exp, so3_log


def make_rigid(rotation: Tensor, translation: Tensor) -> Tensor:
    """(..., 4, 4) transforms x -> rotation x + translation, from (..., 3, 3) and (..., 3)."""
    top = torch.cat([rotation, translation[..., None]], dim=-1)
    bottom = top.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*top.shape[:-2], 1, 4)
    return torch.cat([top, bottom], dim=-2)


def compose(left: Tensor, right: Tensor) -> Tensor:
    """(..., 4, 4) `right` followed by `left`."""
    return left @ right


def inverse(transform: Tensor) -> Tensor:
    """(..., 4, 4) inverse of rigid transforms."""
    rotation = transform[..., :3, :3].transpose(-1, -2)
    return make_rigid(rotation, -(rotation @ transform[..., :3, 3:]).squeeze(-1))


def apply_rigid(transform: Tensor, points: Tensor) -> Tensor:
    """(..., 3) moved points. One transform (4, 4) for all points, or one per point, broadcast over the leading dimensions."""
    rotation, translation = transform[..., :3, :3], transform[..., :3, 3]
    if transform.ndim == 2:
        return points @ rotation.T + translation
    return (rotation @ points[..., None]).squeeze(-1) + translation


def se3_exp(twist: Tensor) -> Tensor:
    """(..., 4, 4) transforms of twists (..., 6): rotation vector first (radians), then the translational velocity."""
    omega, rho = twist[..., :3], twist[..., 3:]
    return make_rigid(so3_exp(omega), (_left_jacobian(omega) @ rho[..., None]).squeeze(-1))


def se3_log(transform: Tensor) -> Tensor:
    """(..., 6) twists, rotation vector first, with `se3_exp(se3_log(T)) = T`; rotations up to pi."""
    omega = so3_log(transform[..., :3, :3])
    rho = torch.linalg.solve(_left_jacobian(omega), transform[..., :3, 3:]).squeeze(-1)
    return torch.cat([omega, rho], dim=-1)


def _left_jacobian(omega: Tensor) -> Tensor:
    """(..., 3, 3) V = I + (1 - cos a)/a^2 S + (a - sin a)/a^3 S^2, the integral of the rotation along the way."""
    squared = omega.square().sum(-1)[..., None, None]
    small = squared < (100 * SMALL_ANGLE) ** 2
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    first = torch.where(small, 0.5 - squared / 24.0, (1.0 - torch.cos(angle)) / angle**2)
    second = torch.where(small, 1.0 / 6.0 - squared / 120.0, (angle - torch.sin(angle)) / angle**3)
    cross = skew(omega)
    return torch.eye(3, dtype=omega.dtype, device=omega.device) + first * cross + second * (cross @ cross)
