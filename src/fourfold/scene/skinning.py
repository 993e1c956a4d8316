"""Points carried by the nodes around them: blended dual quaternions (spec himor_4dgs360.md section 1).

`skin` has its gradient written out, some fifteen times faster than autograd through quaternions; `skin_reference` is its plain twin.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourfold.geometry.dual_quaternions import dual_quat_to_parts
from fourfold.geometry.rotations import quat_multiply, quat_normalize, quat_rotate

SHORT = 1e-16
"""Keeps motions that cancel each other finite: added to the squared length of the blended quaternion."""


def skin(
    dual_quats: Tensor, near: Tensor, weights: Tensor, means: Tensor, quat_wxyz: Tensor, turned: int, align: bool = True
) -> tuple[Tensor, Tensor]:
    """Positions (Q, N, 3) and unit quaternions (turned, N, 4) of points under the blended motions of their nodes.

    q and -q are the same motion: each neighbour's is turned to the half space of the first. `align` False leaves signs as they are.

    Args:
        dual_quats: (Q, M, 8) unit dual quaternions of the nodes, see `geometry.dual_quaternions`.
        near: (N, K) int64 nodes of each point, nearest first; weights: (N, K), sum 1.
        means: (N, 3); quat_wxyz: (N, 4), any length.
        turned: quaternions are computed for the first `turned` of the Q times.
    """
    table = dual_quats.transpose(0, 1).contiguous()
    moved, quats = _Skin.apply(table, near, weights, means, quat_normalize(quat_wxyz), turned, align)
    return moved.transpose(0, 1), quats.transpose(0, 1)


def skin_reference(
    dual_quats: Tensor, near: Tensor, weights: Tensor, means: Tensor, quat_wxyz: Tensor, turned: int, align: bool = True
) -> tuple[Tensor, Tensor]:
    """The plain twin of `skin`."""
    return carry(blend_nodes(dual_quats, near, weights, align), means, quat_wxyz, turned)


def carry(blended: Tensor, means: Tensor, quat_wxyz: Tensor, turned: int) -> tuple[Tensor, Tensor]:
    """Positions (Q, N, 3) and unit quaternions (turned, N, 4) of points (N, 3), (N, 4) under `blended` (Q, N, 8) motions."""
    blended = blended + SHORT * (blended.detach()[..., :4].abs().amax(-1, keepdim=True) == 0)
    quat, translation = dual_quat_to_parts(blended)
    return quat_rotate(quat, means) + translation, quat_multiply(quat[:turned], quat_normalize(quat_wxyz))


def blend_nodes(dual_quats: Tensor, near: Tensor, weights: Tensor, align: bool = True) -> Tensor:
    """(Q, N, 8) blended motions, not yet normalised; arguments as in `skin`."""
    first = dual_quats.index_select(1, near[:, 0])
    blended = weights[:, 0, None] * first
    for k in range(1, near.shape[1]):
        other = dual_quats.index_select(1, near[:, k])
        weight = weights[:, k, None]
        if align:
            weight = weight * _sign(first, other)[..., None]
        blended = blended + weight * other
    return blended


@torch.no_grad()
def _sign(first: Tensor, other: Tensor) -> Tensor:
    return torch.where((first[..., :4] * other[..., :4]).sum(-1) < 0, -1.0, 1.0).to(other.dtype)


class _Skin(torch.autograd.Function):
    """On tables (M, Q, 8): a node's values lie together, so that gathering copies rows. Components are then laid out as (8, N, Q)."""

    @staticmethod
    def forward(
        ctx: Any, table: Tensor, near: Tensor, weights: Tensor, means: Tensor, quat: Tensor, turned: int, align: bool
    ) -> tuple[Tensor, Tensor]:
        rows = [table.index_select(0, near[:, k]) for k in range(near.shape[1])]
        shares = [weights[:, :1].expand(-1, table.shape[1])]
        for k in range(1, len(rows)):
            shares.append(weights[:, k : k + 1] * _sign(rows[0], rows[k]) if align else weights[:, k : k + 1].expand(-1, table.shape[1]))
        blended = sum(share[..., None] * row for share, row in zip(shares, rows, strict=True))
        b = blended.permute(2, 0, 1).contiguous()  # pyright: ignore[reportAttributeAccessIssue]
        real, dual, point = b[:4], b[4:], means.T[..., None]
        length = real.square().sum(0) + SHORT
        moved = _moved(real, dual, point) / length
        unit = real[..., :turned] / length[..., :turned].sqrt()
        quats = _product(unit, quat.T[..., None])
        ctx.save_for_backward(table, near, weights, means, quat, b, length, moved, *shares)
        ctx.turned = turned
        return moved.permute(1, 2, 0), quats.permute(1, 2, 0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        table, near, weights, means, quat, b, length, moved, *shares = ctx.saved_tensors
        real, vector, dual, point = b[:4], b[1:4], b[4:], means.T[..., None]
        grad = grad_outputs[0].permute(2, 0, 1) / length
        along = -2 * (grad * moved).sum(0)
        inner, mix = (vector * point).sum(0), (grad * vector).sum(0)
        dot = (grad * point).sum(0)
        grad_b = torch.empty_like(b)
        grad_b[0] = 2 * (real[0] * dot + (grad * (_cross(vector, point) + dual[1:])).sum(0)) + along * real[0]
        grad_b[1:4] = 2 * (grad * (inner - dual[0]) + point * mix - vector * dot + _cross(real[0] * point + dual[1:], grad)) + along * vector
        grad_b[4] = -2 * mix
        back = _cross(grad, vector)
        grad_b[5:] = 2 * (real[0] * grad + back)
        grad_point = ((real[0].square() - vector.square().sum(0)) * grad + 2 * (vector * mix + real[0] * back)).sum(-1)
        grad_quat = torch.zeros_like(quat)
        if ctx.turned:
            _add_turning(grad_b, grad_quat, grad_outputs[1].permute(2, 0, 1), (real[..., : ctx.turned], length[..., : ctx.turned], quat))
        rows = grad_b.permute(1, 2, 0).contiguous()
        grad_table, grad_weights = torch.zeros_like(table), torch.empty_like(weights)
        for k, share in enumerate(shares):
            grad_table.index_add_(0, near[:, k], share[..., None] * rows)
            sign = torch.where(share < 0, -1.0, 1.0).to(share.dtype)
            grad_weights[:, k] = (sign * (rows * table.index_select(0, near[:, k])).sum(-1)).sum(-1)
        return grad_table, None, grad_weights, grad_point.T, grad_quat, None, None


def _moved(real: Tensor, dual: Tensor, point: Tensor) -> Tensor:
    """(3, N, Q) the moved points times the squared length of `real` (4, N, Q); `point` (3, N, 1)."""
    vector = real[1:]
    turned = (real[0].square() - vector.square().sum(0)) * point + 2 * (vector * (vector * point).sum(0) + real[0] * _cross(vector, point))
    return turned + 2 * (real[0] * dual[1:] - dual[0] * vector + _cross(vector, dual[1:]))


def _add_turning(grad_b: Tensor, grad_quat: Tensor, grad: Tensor, kept: tuple[Tensor, Tensor, Tensor]) -> None:
    """Add what comes through the quaternions: `grad` (4, N, turned) with `kept` blended quaternions, their squared lengths and the points'."""
    real, length, quat = kept
    turned = real.shape[-1]
    norm = length.sqrt()
    unit = real / norm
    through = _product(grad, _conjugate(quat.T[..., None]))
    grad_b[:4, :, :turned] += (through - unit * (unit * through).sum(0)) / norm
    grad_quat += _product(_conjugate(unit), grad).sum(-1).T


def _conjugate(quat: Tensor) -> Tensor:
    return torch.cat([quat[:1], -quat[1:]])


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _product(left: Tensor, right: Tensor) -> Tensor:
    """(4, ...) Hamilton product, components first."""
    real = left[0] * right[0] - (left[1:] * right[1:]).sum(0)
    return torch.cat([real[None], left[0] * right[1:] + right[0] * left[1:] + _cross(left[1:], right[1:])])
