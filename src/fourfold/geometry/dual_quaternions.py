"""Unit dual quaternions (..., 8): real part wxyz (rotation), then dual part wxyz (translation). For blending rigid motions."""

from __future__ import annotations

import torch
from torch import Tensor

from fourfold.geometry.rigid import make_rigid
from fourfold.geometry.rotations import matrix_to_quat, quat_conjugate, quat_multiply, quat_to_matrix


def dual_quat_from_parts(quat_wxyz: Tensor, translation: Tensor) -> Tensor:
    """(..., 8) of x -> R(q) x + t, from unit quaternions (..., 4) and translations (..., 3)."""
    pure = torch.nn.functional.pad(translation, (1, 0))
    return torch.cat([quat_wxyz, 0.5 * quat_multiply(pure, quat_wxyz)], dim=-1)


def dual_quat_to_parts(dual_quat: Tensor) -> tuple[Tensor, Tensor]:
    """Unit quaternions (..., 4) and translations (..., 3) of dual quaternions of any non-zero length."""
    length = dual_quat[..., :4].norm(dim=-1, keepdim=True)
    real, dual = dual_quat[..., :4] / length, dual_quat[..., 4:] / length
    return real, 2.0 * quat_multiply(dual, quat_conjugate(real))[..., 1:]


def dual_quat_from_rigid(transform: Tensor) -> Tensor:
    """(..., 8) of rigid transforms (..., 4, 4)."""
    return dual_quat_from_parts(matrix_to_quat(transform[..., :3, :3]), transform[..., :3, 3])


def dual_quat_to_rigid(dual_quat: Tensor) -> Tensor:
    """(..., 4, 4) rigid transforms of dual quaternions of any non-zero length."""
    quat, translation = dual_quat_to_parts(dual_quat)
    return make_rigid(quat_to_matrix(quat), translation)


def dual_quat_blend(dual_quat: Tensor, weights: Tensor) -> Tensor:
    """(..., 8) weighted mean of rigid motions (Kavan et al. 2007, dual-quaternion linear blending), not yet normalised.

    q and -q are the same motion: each is first turned to the half space of the one with the largest weight.

    Args:
        dual_quat: (..., B, 8).
        weights: (..., B), not negative, not all zero.
    """
    heaviest = weights.detach().argmax(-1)[..., None, None]
    real, shape = dual_quat[..., :4].detach(), (*weights.shape, 4)
    reference = torch.take_along_dim(real.expand(shape), heaviest, dim=-2)
    sign = torch.where((real * reference).sum(-1) < 0, -1.0, 1.0).to(dual_quat.dtype)
    return ((weights * sign)[..., None] * dual_quat).sum(-2)
