"""What carries the Gaussians of a motion scaffold: motions of nodes between two times, and how much each node counts (spec mosca.md section 8).

Both run in the compiled kernel, on a GPU in Triton's (`kernels/triton_scaffold.py`); the plain twins in torch also serve other devices and dtypes.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourfold.geometry.rotations import quat_conjugate, quat_multiply
from fourfold.kernels.devices import compiled, on_gpu, pointer

FLOOR = 1e-6
"""Every believed neighbour has at least this weight before normalisation (spec mosca.md section 8)."""


@dataclass(frozen=True)
class Followers:
    """N points and the M nodes around them, at R reference times.

    means (N, 3) at the reference time `anchor` (N,) int64 of each; `node` (N,) int64, which each is attached to; then (R, M, 3) places of the
    nodes; `near` (M, J) int64 and `valid` (M, J) bool, the topology. No gradient goes to any of these.
    """

    means: Tensor
    anchor: Tensor
    node: Tensor
    then: Tensor
    near: Tensor
    valid: Tensor


def motion_table(now: Tensor, then: Tensor) -> Tensor:
    """(Q, R M + 1, 8) motions of M nodes from R times to Q others, all dual quaternions: rows R M, the last one the motion of what rests.

    Args:
        now: (Q, M, 8); then: (R, M, 8), both unit dual quaternions of the nodes' poses.
    """
    if on_gpu(now, then):
        return motion_table_on_gpu(now.contiguous(), then.contiguous())
    library = _library(now, then)
    if library is None:
        return motion_table_reference(now, then)
    return _MotionTable.apply(library, now.contiguous(), then.contiguous())  # type: ignore[no-any-return]


def motion_table_on_gpu(now: Tensor, then: Tensor) -> Tensor:
    """`motion_table` by the Triton kernels."""
    from fourfold.kernels.triton_scaffold import MotionTableOnGpu

    return MotionTableOnGpu.apply(now, then)  # type: ignore[no-any-return]


def motion_table_reference(now: Tensor, then: Tensor) -> Tensor:
    """The plain twin of `motion_table`."""
    real, dual = now[:, None, :, :4], now[:, None, :, 4:]
    back, back_dual = quat_conjugate(then[None, ..., :4]), quat_conjugate(then[None, ..., 4:])
    table = torch.cat([quat_multiply(real, back), quat_multiply(real, back_dual) + quat_multiply(dual, back)], dim=-1).flatten(1, 2)
    rest = torch.nn.functional.pad(torch.ones_like(table[:, :1, :1]), (0, 7))
    return torch.cat([table, rest], dim=1)


def carriers(points: Followers, radius: Tensor, pull: bool, change: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Which rows of `motion_table` carry each point, (N, J) int64, and how much, (N, J) of sum 1.

    With `pull` a column more: the row that rests, as far as the weights of the nodes sum to less than one before normalisation.

    Args:
        radius: (M,) reach of each node; weights change with it, not with positions.
        change: (N, J) what is added to each point's weights before normalisation, in the order of the topology; their absolute values count.
    """
    falling = -0.5 / radius.square()
    if on_gpu(falling, points.means, points.then) and len(points.means) and change is None:
        return carriers_on_gpu(points, falling, pull)
    library = _library(falling, points.means, points.then) if len(points.means) and change is None else None
    if library is None:
        return carriers_reference(points, falling, pull, change)
    return _Carriers.apply(library, pull, points, falling.contiguous())  # type: ignore[no-any-return]


def carriers_on_gpu(points: Followers, falling: Tensor, pull: bool) -> tuple[Tensor, Tensor]:
    """`carriers` by the Triton kernels."""
    from fourfold.kernels.triton_scaffold import CarriersOnGpu

    given = (points.means, points.anchor, points.node, points.then, points.near, points.valid)
    return CarriersOnGpu.apply(pull, FLOOR, *(t.detach().contiguous() for t in given), falling)  # type: ignore[no-any-return]


def carriers_reference(points: Followers, falling: Tensor, pull: bool, change: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The plain twin of `carriers`, and the only one that knows `change`; `falling` (M,) is -1 / (2 radius^2)."""
    near = points.near[points.node]
    rows = points.anchor[:, None] * points.then.shape[1] + near
    squared = (points.means.detach()[:, None] - points.then.detach().flatten(0, 1)[rows]).square().sum(-1)
    believed = points.valid[points.node].to(squared.dtype)
    raw = (torch.exp(squared * falling[near]) + FLOOR) * believed
    if change is not None:
        raw = ((raw + change).abs() + FLOOR * FLOOR) * believed  # never all zero
    total = raw.sum(1, keepdim=True)
    if not pull:
        return rows, raw / total
    hold = total.clamp(0, 1)
    rest = torch.full_like(rows[:, :1], points.then.shape[0] * points.then.shape[1])
    return torch.cat([rows, rest], dim=1), torch.cat([hold * raw / total, 1 - hold], dim=1)


def _library(*tensors: Tensor) -> ctypes.CDLL | None:
    library = compiled(*tensors)
    return library if library is not None and hasattr(library, "ff_scaffold_weights") else None


class _MotionTable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, library: ctypes.CDLL, now: Tensor, then: Tensor) -> Tensor:
        table = now.new_empty(len(now), then.shape[0] * then.shape[1] + 1, 8)
        ctx.sizes = (ctypes.c_int64 * 3)(len(now), *then.shape[:2])
        library.ff_motion_table(pointer(now), pointer(then), ctx.sizes, pointer(table))
        ctx.save_for_backward(now, then)
        ctx.library = library
        return table

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        now, then = ctx.saved_tensors
        of, by_now, by_then = grad_outputs[0].contiguous(), torch.empty_like(now), torch.empty_like(then)
        ctx.library.ff_motion_table_backward(*map(pointer, (now, then)), ctx.sizes, *map(pointer, (of, by_now, by_then)))
        return None, by_now, by_then


class _Carriers(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, library: ctypes.CDLL, pull: bool, points: Followers, falling: Tensor) -> tuple[Tensor, Tensor]:
        given = (points.then, points.means, falling, points.node, points.anchor, points.near, points.valid)
        then, means, falling, node, anchor, near, valid = (t.detach().contiguous() for t in given)
        followed = near.shape[1]
        rows, weights = node.new_empty(len(means), followed + pull), means.new_empty(len(means), followed + pull)
        slopes = means.new_empty(len(means), followed + 1)
        ctx.sizes = (ctypes.c_int64 * 5)(len(means), then.shape[1], followed, then.shape[0], pull)
        kept = (then, means, falling, node, anchor, near, valid)  # contiguous copies live until the kernel has read them
        library.ff_scaffold_weights(*map(pointer, kept), ctx.sizes, ctypes.c_float(FLOOR), *map(pointer, (rows, weights, slopes)))
        ctx.save_for_backward(node, near, weights, slopes)
        ctx.mark_non_differentiable(rows)
        ctx.library = library
        return rows, weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        node, near, weights, slopes = ctx.saved_tensors
        of, by_falling = grad_outputs[1].contiguous(), weights.new_empty(ctx.sizes[1])
        ctx.library.ff_scaffold_weights_backward(*map(pointer, (node, near, weights, slopes)), ctx.sizes, *map(pointer, (of, by_falling)))
        return None, None, None, by_falling
