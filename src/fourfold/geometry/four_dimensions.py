"""Gaussians in space-time and what is seen of them at one time: spec baselines.md 5."""

from __future__ import annotations

import torch
from torch import Tensor


def rotation4(left: Tensor, right: Tensor) -> Tensor:
    """(N, 4, 4) rotations of (x, y, z, t) from two unit quaternions (N, 4) wxyz: p -> left p right, with t as the scalar part."""
    a, b, c, d = torch.nn.functional.normalize(left, dim=1).unbind(1)
    e, f, g, h = torch.nn.functional.normalize(right, dim=1).unbind(1)
    by_left = torch.stack([a, -b, -c, -d, b, a, -d, c, c, d, a, -b, d, -c, b, a], 1).unflatten(1, (4, 4))
    by_right = torch.stack([e, -f, -g, -h, f, e, h, -g, g, -h, e, f, h, g, -f, e], 1).unflatten(1, (4, 4))
    order = [1, 2, 3, 0]
    return (by_left @ by_right)[:, order][:, :, order]


def covariance4(scale: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """(N, 4, 4) covariance R S S^T R^T over (x, y, z, t) from standard deviations (N, 4)."""
    stretched = rotation4(left, right) * scale[:, None, :]
    return stretched @ stretched.transpose(1, 2)


def from_four_dimensions(covariance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the covariance (N, 4, 4) of a 4D Gaussian means for its 3D slices.

    Returns:
        velocity (N, 3): the slice's centre moves by S_xt / S_tt per unit of time; covariance (N, 3, 3) of every slice,
        S_xx - S_xt S_tx / S_tt; and the variance of its life (N,), S_tt.
    """
    life = covariance[:, 3, 3]
    velocity = covariance[:, :3, 3] / life[:, None]
    return velocity, covariance[:, :3, :3] - velocity[:, :, None] * covariance[:, None, :3, 3], life
