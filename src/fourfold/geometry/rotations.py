"""Rotations: unit quaternions (wxyz), matrices, axis-angle vectors and the continuous 6D form. Batched, differentiable."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

SMALL_ANGLE = 1e-4  # radians; below it the Taylor series is more accurate than the quotient, also in float32


def quat_normalize(quat_wxyz: Tensor) -> Tensor:
    """(..., 4) quaternions at unit length; the zero quaternion stays zero."""
    return normalize(quat_wxyz, dim=-1)


def quat_conjugate(quat_wxyz: Tensor) -> Tensor:
    """(..., 4) the inverse rotations of unit quaternions."""
    return torch.cat([quat_wxyz[..., :1], -quat_wxyz[..., 1:]], dim=-1)


def quat_multiply(left: Tensor, right: Tensor) -> Tensor:
    """(..., 4) Hamilton product: the rotation `right` followed by `left`."""
    lw, lv = left[..., :1], left[..., 1:]
    rw, rv = right[..., :1], right[..., 1:]
    lv, rv = torch.broadcast_tensors(lv, rv)
    real = lw * rw - (lv * rv).sum(-1, keepdim=True)
    return torch.cat([real, lw * rv + rw * lv + torch.linalg.cross(lv, rv)], dim=-1)


def quat_rotate(quat_wxyz: Tensor, vectors: Tensor) -> Tensor:
    """(..., 3) vectors turned by unit quaternions (..., 4)."""
    axis, vectors = torch.broadcast_tensors(quat_wxyz[..., 1:], vectors)
    turned = 2.0 * torch.linalg.cross(axis, vectors)
    return vectors + quat_wxyz[..., :1] * turned + torch.linalg.cross(axis, turned)


def quat_to_matrix(quat_wxyz: Tensor) -> Tensor:
    """(..., 3, 3) rotation matrices of quaternions (..., 4) of any non-zero length."""
    w, x, y, z = quat_normalize(quat_wxyz).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def matrix_to_quat(rotation: Tensor) -> Tensor:
    """(..., 4) unit quaternions wxyz of rotation matrices (..., 3, 3); the largest component is positive.

    The 4x4 matrix 4 q q^T is linear in the rotation; its row with the largest diagonal, normalised, is the quaternion
    (Bar-Itzhack 2000). That row is never short, so the gradient is finite everywhere.
    """
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in rotation.unbind(-2))
    outer = torch.stack(
        [
            torch.stack([1 + a + e + i, h - f, c - g, d - b], dim=-1),
            torch.stack([h - f, 1 + a - e - i, b + d, c + g], dim=-1),
            torch.stack([c - g, b + d, 1 - a + e - i, f + h], dim=-1),
            torch.stack([d - b, c + g, f + h, 1 - a - e + i], dim=-1),
        ],
        dim=-2,
    )
    best = outer.detach().diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = torch.take_along_dim(outer, best[..., None, None], dim=-2).squeeze(-2)
    return normalize(row, dim=-1)


def slerp(start: Tensor, end: Tensor, fraction: Tensor) -> Tensor:
    """(..., 4) constant-speed rotation from `start` to `end` (unit quaternions) the short way round.

    Args:
        fraction: (...) 0 gives `start`, 1 gives `end` (or its negative, the same rotation).
    """
    step = quat_log(quat_multiply(quat_conjugate(start), end))
    return quat_multiply(start, quat_exp(fraction[..., None] * step))


def quat_exp(axis_angle: Tensor) -> Tensor:
    """(..., 4) unit quaternions of rotation vectors (..., 3), radians. Differentiable at zero."""
    squared = axis_angle.square().sum(-1, keepdim=True)
    small = squared < SMALL_ANGLE**2
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    factor = torch.where(small, 0.5 - squared / 48.0, torch.sin(0.5 * angle) / angle)
    real = torch.where(small, 1.0 - squared / 8.0, torch.cos(0.5 * angle))
    return torch.cat([real, factor * axis_angle], dim=-1)


def quat_log(quat_wxyz: Tensor) -> Tensor:
    """(..., 3) rotation vectors of unit quaternions, radians, at most pi long. Differentiable at the identity."""
    quat = torch.where(quat_wxyz[..., :1] < 0, -quat_wxyz, quat_wxyz)
    real, vector = quat[..., :1], quat[..., 1:]
    squared = vector.square().sum(-1, keepdim=True)
    small = squared < SMALL_ANGLE**2
    length = torch.where(small, torch.ones_like(squared), squared).sqrt()
    safe_real = torch.where(small, real, torch.ones_like(real))
    series = 2.0 / safe_real * (1.0 - squared / (3.0 * safe_real.square()))
    return torch.where(small, series, 2.0 * torch.atan2(length, real) / length) * vector


def so3_exp(axis_angle: Tensor) -> Tensor:
    """(..., 3, 3) rotation matrices of rotation vectors (..., 3), radians."""
    return quat_to_matrix(quat_exp(axis_angle))


def so3_log(rotation: Tensor) -> Tensor:
    """(..., 3) rotation vectors of rotation matrices (..., 3, 3), radians, at most pi long."""
    return quat_log(matrix_to_quat(rotation))


def skew(vector: Tensor) -> Tensor:
    """(..., 3, 3) matrices S(v) with S(v) u = v x u."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def rotation6d_to_matrix(rotation6d: Tensor) -> Tensor:
    """(..., 3, 3) Gram-Schmidt of (..., 6): the first three numbers give column x, the next three, made orthogonal, column y, z = x cross y.

    Zhou et al. 2019, in the column order of spec shape_of_motion.md section 1.
    """
    x = normalize(rotation6d[..., :3], dim=-1)
    second = rotation6d[..., 3:]
    y = normalize(second - (x * second).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


def matrix_to_rotation6d(rotation: Tensor) -> Tensor:
    """(..., 6) columns x and y of rotation matrices (..., 3, 3)."""
    return rotation[..., :2].transpose(-1, -2).flatten(-2)
