"""Points carried by the nodes around them: blended dual quaternions (spec himor_4dgs360.md section 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from fourfold.geometry.dual_quaternions import dual_quat_to_parts
from fourfold.geometry.rotations import quat_multiply, quat_normalize, quat_rotate

SHORT = 1e-8


def blend_nodes(dual_quats: Tensor, near: Tensor, weights: Tensor, align: bool = True) -> Tensor:
    """(Q, N, 8) blended motion of N points at Q times, not yet normalised.

    q and -q are the same motion: each neighbour's is turned to the half space of the first. `align` False leaves signs as they are.

    Args:
        dual_quats: (Q, M, 8) unit dual quaternions of the nodes, see `geometry.dual_quaternions`.
        near: (N, K) int64 nodes of each point, nearest first; weights: (N, K), sum 1.
    """
    first = dual_quats.index_select(1, near[:, 0])
    blended = weights[:, 0, None] * first
    for k in range(1, near.shape[1]):
        other = dual_quats.index_select(1, near[:, k])
        weight = weights[:, k, None]
        if align:
            with torch.no_grad():
                sign = torch.where((first[..., :4] * other[..., :4]).sum(-1, keepdim=True) < 0, -1.0, 1.0).to(other.dtype)
            weight = weight * sign
        blended = blended + weight * other
    return blended


def carry(blended: Tensor, means: Tensor, quat_wxyz: Tensor, turned: int) -> tuple[Tensor, Tensor]:
    """Positions (Q, N, 3) and unit quaternions (turned, N, 4) of points (N, 3), (N, 4) under `blended` (Q, N, 8) motions.

    Args:
        turned: quaternions are computed for the first `turned` of the Q times.
    """
    blended = blended + SHORT * (blended.detach()[..., :4].abs().amax(-1, keepdim=True) == 0)
    quat, translation = dual_quat_to_parts(blended)
    return quat_rotate(quat, means) + translation, quat_multiply(quat[:turned], quat_normalize(quat_wxyz))
