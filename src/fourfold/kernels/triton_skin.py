"""Points carried by the nodes around them and the gradients, for GPUs: the twin of `skin.cpp`. Imported only where Triton is installed.

Forward a program is a block of points at one time. Backward one is a block of points at all times, which writes what its blended motions get; then
one is a node at one time, which finds its points in a sorted list and adds up: nothing is added atomically, the same input gives the same bits.
"""
# pyright: basic, reportArgumentType=false, reportIndexIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourfold.kernels.devices import launch
from fourfold.kernels.triton_algebra import (
    by_unit,
    conjugate,
    cross,
    dot4,
    four,
    plus,
    plus4,
    product,
    pure,
    put_four,
    put_three,
    rotate,
    scaled4,
    three,
    unit,
    vector,
)
from fourfold.kernels.triton_segments import bounds_of

BLOCK = 64  # points of a program
TINY = tl.constexpr(1e-16)  # keeps motions that cancel each other finite


@triton.jit
def sign_of(first, real, ALIGN: tl.constexpr):
    """-1 where a node's motion lies in the other half space than that of the point's first node."""
    sign = first[0] * 0.0 + 1.0
    if ALIGN:
        sign = tl.where(dot4(first, real) < 0, -sign, sign)
    return sign


@triton.jit
def blended_of(table, near, weights, n, on, carried, ALIGN: tl.constexpr):
    """Real and dual part of the blended motions, not yet normalised; `table` (M, 8) of one time."""
    first = four(table, tl.load(near + n * carried, mask=on, other=0) * 8, on)
    none = n * 0.0
    real, dual = (none, none, none, none), (none, none, none, none)
    for k in range(carried):
        row = tl.load(near + n * carried + k, mask=on, other=0) * 8
        here = four(table, row, on)
        share = tl.load(weights + n * carried + k, mask=on, other=0.0) * sign_of(first, here, ALIGN)
        real, dual = plus4(real, here, share), plus4(dual, four(table, row + 4, on), share)
    lost = tl.where(dot4(real, real) == 0, TINY, 0.0)
    one = (lost, lost, lost, lost)
    return plus4(real, one, 1.0), plus4(dual, one, 1.0)


@triton.jit
def skin_kernel(
    table, near, weights, means, quats, positions, turns, points, rows, carried, turned, ALIGN: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """One time of a block of points."""
    n, q = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1)
    on = n < points
    real, dual = blended_of(table + q * rows * 8, near, weights, n, on, carried, ALIGN)
    length = tl.sqrt(dot4(real, real))
    real, dual = scaled4(real, 1.0 / length), scaled4(dual, 1.0 / length)
    shift = vector(product(dual, conjugate(real)))
    put_three(positions + q * points * 3, n, plus(rotate(real, three(means, n, on)), shift, 2.0), on)
    if q < turned:
        own, _length = unit(four(quats, n * 4, on))
        put_four(turns, (q * points + n) * 4, product(real, own), on)


@triton.jit
def skin_points_kernel(
    table, near, weights, means, quats, of_positions, of_turns, by_weights, by_means, by_quats, by_blended, points, rows, carried, times, turned,
    ALIGN: tl.constexpr, MOVED: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """All times of a block of points; `by_blended` (Q, N, 8). MOVED: there is a gradient of positions; `turned` times have one of quaternions."""
    n, columns = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, WIDE)
    on = n < points
    mean = three(means, n, on)
    own, own_length = unit(four(quats, n * 4, on))
    none = mean[0] * 0.0
    by_mean, by_own = (none, none, none), (none, none, none, none)
    by_shares = tl.zeros([BLOCK, WIDE], tl.float32)
    for q in range(times):
        now = table + q * rows * 8
        real, dual = blended_of(now, near, weights, n, on, carried, ALIGN)
        length = tl.sqrt(dot4(real, real))
        u, e = scaled4(real, 1.0 / length), scaled4(dual, 1.0 / length)
        by_u, by_e = (none, none, none, none), (none, none, none, none)
        if MOVED:
            of_moved = three(of_positions + q * points * 3, n, on)
            by_mean = plus(by_mean, rotate(conjugate(u), of_moved), 1.0)
            # turning the motion further turns R mean; the shift is twice the vector part of e conjugate(u)
            by_u = product(pure(cross(rotate(u, mean), of_moved), 2.0), u)
            by_e = product(pure(of_moved, 2.0), u)
            by_u = plus4(by_u, product(pure(of_moved, 2.0), e), -1.0)
        if q < turned:
            of_turned = four(of_turns, (q * points + n) * 4, on)
            by_u = plus4(by_u, product(of_turned, conjugate(own)), 1.0)
            by_own = plus4(by_own, product(conjugate(u), of_turned), 1.0)
        by_real = plus4(by_unit(u, length, by_u), u, -dot4(e, by_e) / length)
        by_dual = scaled4(by_e, 1.0 / length)
        put_four(by_blended, (q * points + n) * 8, by_real, on)
        put_four(by_blended, (q * points + n) * 8 + 4, by_dual, on)
        first = four(now, tl.load(near + n * carried, mask=on, other=0) * 8, on)
        for k in range(carried):
            row = tl.load(near + n * carried + k, mask=on, other=0) * 8
            here = four(now, row, on)
            slope = sign_of(first, here, ALIGN) * (dot4(here, by_real) + dot4(four(now, row + 4, on), by_dual))
            by_shares += tl.where(columns[None, :] == k, slope[:, None], 0.0)
    tl.store(by_weights + n[:, None] * carried + columns[None, :], by_shares, mask=on[:, None] & (columns < carried)[None, :])
    put_three(by_means, n, by_mean, on)
    put_four(by_quats, n * 4, by_unit(own, own_length, by_own), on)


@triton.jit
def skin_nodes_kernel(
    table, near, weights, ordered, order, by_blended, by_table, points, rows, carried, entries, ALIGN: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """A node at one time: the gradients of all points that follow it. `ordered` are the entries of `near` (N, K) sorted, `order` where they were."""
    m, q = tl.program_id(0), tl.program_id(1)
    now = table + q * rows * 8
    begin, end = bounds_of(ordered, m, entries)
    none = tl.zeros([BLOCK], tl.float32)
    real, dual = (none, none, none, none), (none, none, none, none)
    for start in range(begin, end, BLOCK):
        i = start + tl.arange(0, BLOCK)
        on = i < end
        entry = tl.load(order + i, mask=on, other=0)
        n = entry // carried
        first = four(now, tl.load(near + n * carried, mask=on, other=0) * 8, on)
        here = four(now, i * 0 + m * 8, on)
        share = tl.load(weights + entry, mask=on, other=0.0) * sign_of(first, here, ALIGN)
        real = plus4(real, four(by_blended, (q * points + n) * 8, on), share)
        dual = plus4(dual, four(by_blended, (q * points + n) * 8 + 4, on), share)
    at = (q * rows + m) * 8
    put_four(by_table, at, (tl.sum(real[0], 0), tl.sum(real[1], 0), tl.sum(real[2], 0), tl.sum(real[3], 0)), True)
    put_four(by_table, at + 4, (tl.sum(dual[0], 0), tl.sum(dual[1], 0), tl.sum(dual[2], 0), tl.sum(dual[3], 0)), True)


@dataclass(frozen=True)
class Carried:
    """How `SkinOnGpu` carries.

    Attributes:
        turned: how many times have quaternions.
        align: motions are turned to the half space of each point's first node.
        resting: the last row of the table rests: it gets no gradient, which for as many points as follow it would take long.
    """

    turned: int
    align: bool
    resting: bool


class SkinOnGpu(torch.autograd.Function):
    """Arguments: a `Carried`; near (N, K) int64; table (Q, M, 8), weights (N, K), means (N, 3), quaternions (N, 4): contiguous float32."""

    @staticmethod
    def forward(ctx: Any, how: Carried, near: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        table, weights, means, quats = tensors
        times, rows = table.shape[:2]
        points = len(means)
        positions, turns = means.new_empty(times, points, 3), means.new_empty(how.turned, points, 4)
        sizes, constants = (points, rows, near.shape[1], how.turned), {"ALIGN": how.align, "BLOCK": BLOCK}
        launch(skin_kernel, (triton.cdiv(points, BLOCK), times), table, near, weights, means, quats, positions, turns, *sizes, **constants)
        ctx.save_for_backward(near, *tensors)
        ctx.how = how
        ctx.set_materialize_grads(False)
        return positions, turns

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        near, table, weights, means, quats = ctx.saved_tensors
        times, rows, points, carried = *table.shape[:2], len(means), near.shape[1]
        of_positions, of_turns = (None if g is None else g.contiguous() for g in upstream)
        results = [torch.empty_like(t) for t in (weights, means, quats)]
        by_blended, by_table = means.new_empty(times, points, 8), None
        sizes = (points, rows, carried, times, 0 if of_turns is None else ctx.how.turned)
        flags = {"ALIGN": ctx.how.align, "MOVED": of_positions is not None, "WIDE": triton.next_power_of_2(carried), "BLOCK": BLOCK}
        arrays = (table, near, weights, means, quats, of_positions, of_turns, *results, by_blended)
        launch(skin_points_kernel, (triton.cdiv(points, BLOCK),), *arrays, *sizes, **flags)
        if ctx.needs_input_grad[2]:
            ordered, order = near.flatten().sort(stable=True)
            by_table = torch.empty_like(table)
            sizes, constants = (points, rows, carried, near.numel()), {"ALIGN": ctx.how.align, "BLOCK": BLOCK}
            launch(
                skin_nodes_kernel, (rows - ctx.how.resting, times), table, near, weights, ordered, order, by_blended, by_table, *sizes, **constants
            )
            if ctx.how.resting:
                by_table[:, -1].zero_()
        return None, None, by_table, *results
