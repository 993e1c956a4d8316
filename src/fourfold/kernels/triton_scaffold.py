"""Motions of a scaffold's nodes between times, and how much each node carries of a point, for GPUs: the twin of `scaffold.cpp`.

Imported only where Triton is installed.
"""
# pyright: basic, reportArgumentType=false, reportIndexIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourfold.kernels.devices import launch
from fourfold.kernels.triton_algebra import conjugate, four, plus4, product, put_four, three
from fourfold.kernels.triton_segments import sum_by_row

BLOCK = 64


@triton.jit
def table_kernel(now, then, table, nodes, references, BLOCK: tl.constexpr):
    """Rows of one time: now conjugate(then), dual quaternions; the last one rests."""
    i, q = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1)
    size = references * nodes
    moving = i < size
    a, b = (q * nodes + i % nodes) * 8, i * 8
    real, dual = four(now, a, moving), four(now, a + 4, moving)
    back, back_dual = conjugate(four(then, b, moving)), conjugate(four(then, b + 4, moving))
    at = (q * (size + 1) + i) * 8
    rest = tl.where(moving, 0.0, 1.0)
    put_four(table, at, plus4(product(real, back), (rest, rest * 0.0, rest * 0.0, rest * 0.0), 1.0), i <= size)
    put_four(table, at + 4, plus4(product(real, back_dual), product(dual, back), 1.0), i <= size)


@triton.jit
def table_backward_kernel(now, then, of, by_now, by_then, nodes, references, times, BLOCK: tl.constexpr):
    """What the first `times` programs along the second axis sum over references goes to `now`, what the others sum over times to `then`."""
    m, which = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1)
    on, size = m < nodes, references * nodes + 1
    none = tl.zeros([BLOCK], tl.float32)
    by_real, by_dual = (none, none, none, none), (none, none, none, none)
    if which < times:
        for r in range(references):
            at, b = (which * size + r * nodes + m) * 8, (r * nodes + m) * 8
            real, dual, back = four(of, at, on), four(of, at + 4, on), four(then, b, on)
            by_real = plus4(by_real, plus4(product(real, back), product(dual, four(then, b + 4, on)), 1.0), 1.0)
            by_dual = plus4(by_dual, product(dual, back), 1.0)
        put_four(by_now, (which * nodes + m) * 8, by_real, on)
        put_four(by_now, (which * nodes + m) * 8 + 4, by_dual, on)
    else:
        r = which - times
        for q in range(times):
            at, a = (q * size + r * nodes + m) * 8, (q * nodes + m) * 8
            real, dual, forth = conjugate(four(of, at, on)), conjugate(four(of, at + 4, on)), four(now, a, on)
            by_real = plus4(by_real, plus4(product(real, forth), product(dual, four(now, a + 4, on)), 1.0), 1.0)
            by_dual = plus4(by_dual, product(dual, forth), 1.0)
        put_four(by_then, (r * nodes + m) * 8, by_real, on)
        put_four(by_then, (r * nodes + m) * 8 + 4, by_dual, on)


@triton.jit
def weights_kernel(
    then, means, falling, node, anchor, near, valid, rows, weights, slopes, points, nodes, references, followed, floor,
    PULL: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Rows of the table and weights of a block of points, and the slopes (N, J) of the weights before normalisation in `falling`."""
    n, j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, WIDE)
    on = n < points
    there = on[:, None] & (j < followed)[None, :]
    at = tl.load(node + n, mask=on, other=0)[:, None] * followed + j[None, :]
    neighbour = tl.load(near + at, mask=there, other=0)
    believed = tl.load(valid + at, mask=there, other=0).to(tl.float32)
    row = tl.load(anchor + n, mask=on, other=0)[:, None] * nodes + neighbour
    mean, place = three(means, n, on), three(then, row, there)
    x, y, z = mean[0][:, None] - place[0], mean[1][:, None] - place[1], mean[2][:, None] - place[2]
    squared = x * x + y * y + z * z
    size = tl.exp(squared * tl.load(falling + neighbour, mask=there, other=0.0)) * believed
    raw = size + floor * believed
    total = tl.sum(raw, 1)
    columns = followed + PULL
    share = raw / total[:, None]
    if PULL:
        hold = tl.minimum(total, 1.0)
        share = share * hold[:, None]
        tl.store(rows + n * columns + followed, n.to(tl.int64) * 0 + references * nodes, mask=on)
        tl.store(weights + n * columns + followed, 1.0 - hold, mask=on)
    tl.store(rows + n[:, None] * columns + j[None, :], row, mask=there)
    tl.store(weights + n[:, None] * columns + j[None, :], share, mask=there)
    tl.store(slopes + n[:, None] * (followed + 1) + j[None, :], size * squared, mask=there)
    tl.store(slopes + n * (followed + 1) + followed, total, mask=on)


@triton.jit
def weights_backward_kernel(
    node, near, weights, slopes, of, keys, parts, points, followed, PULL: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """What each point says of `falling` of each of its nodes (N, J), and which nodes these are."""
    n, j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, WIDE)
    on = n < points
    there = on[:, None] & (j < followed)[None, :]
    columns = followed + PULL
    share = tl.load(weights + n[:, None] * columns + j[None, :], mask=there, other=0.0)
    upstream = tl.load(of + n[:, None] * columns + j[None, :], mask=there, other=0.0)
    slope = tl.load(slopes + n[:, None] * (followed + 1) + j[None, :], mask=there, other=0.0)
    total = tl.load(slopes + n * (followed + 1) + followed, mask=on, other=1.0)
    by_raw = (upstream - tl.sum(upstream * share, 1)[:, None]) / total[:, None]
    if PULL:  # weights are as they were before normalisation where they sum to less than one
        rest = tl.load(of + n * columns + followed, mask=on, other=0.0)
        by_raw = tl.where((total < 1.0)[:, None], upstream - rest[:, None], by_raw)
    at = tl.load(node + n, mask=on, other=0)[:, None] * followed + j[None, :]
    tl.store(keys + n[:, None] * followed + j[None, :], tl.load(near + at, mask=there, other=0), mask=there)
    tl.store(parts + n[:, None] * followed + j[None, :], by_raw * slope, mask=there)


class MotionTableOnGpu(torch.autograd.Function):
    """Arguments: now (Q, M, 8) and then (R, M, 8), contiguous float32."""

    @staticmethod
    def forward(ctx: Any, now: Tensor, then: Tensor) -> Tensor:
        times, (references, nodes, _) = len(now), then.shape
        table = now.new_empty(times, references * nodes + 1, 8)
        launch(table_kernel, (triton.cdiv(references * nodes + 1, BLOCK), times), now, then, table, nodes, references, BLOCK=BLOCK)
        ctx.save_for_backward(now, then)
        return table

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor]:
        now, then = ctx.saved_tensors
        times, (references, nodes, _) = len(now), then.shape
        results = torch.empty_like(now), torch.empty_like(then)
        grid, arrays = (triton.cdiv(nodes, BLOCK), times + references), (now, then, upstream[0].contiguous(), *results)
        launch(table_backward_kernel, grid, *arrays, nodes, references, times, BLOCK=BLOCK)
        return results


class CarriersOnGpu(torch.autograd.Function):
    """Arguments: whether the world pulls, the smallest weight; the tensors of a `carriers.Followers` and falling (M,)."""

    @staticmethod
    def forward(ctx: Any, pull: bool, floor: float, *given: Tensor) -> tuple[Tensor, Tensor]:
        means, anchor, node, then, near, valid, falling = given
        points, followed = len(means), near.shape[1]
        rows, weights = near.new_empty(points, followed + pull), means.new_empty(points, followed + pull)
        slopes, sizes = means.new_empty(points, followed + 1), (points, then.shape[1], then.shape[0], followed, floor)
        flags = {"PULL": pull, "WIDE": triton.next_power_of_2(followed), "BLOCK": BLOCK}
        arrays = (then, means, falling, node, anchor, near, valid.view(torch.uint8), rows, weights, slopes)
        launch(weights_kernel, (triton.cdiv(points, BLOCK),), *arrays, *sizes, **flags)
        ctx.save_for_backward(node, near, weights, slopes)
        ctx.mark_non_differentiable(rows)
        ctx.pull = pull
        ctx.set_materialize_grads(False)
        return rows, weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        node, near, weights, slopes = ctx.saved_tensors
        points, followed = len(weights), near.shape[1]
        keys, parts = near.new_empty(points * followed), weights.new_empty(points * followed, 1)
        flags = {"PULL": ctx.pull, "WIDE": triton.next_power_of_2(followed), "BLOCK": BLOCK}
        arrays = (node, near, weights, slopes, upstream[1].contiguous(), keys, parts)
        launch(weights_backward_kernel, (triton.cdiv(points, BLOCK),), *arrays, points, followed, **flags)
        return *(None,) * 8, sum_by_row(parts, keys, len(near))[:, 0]
