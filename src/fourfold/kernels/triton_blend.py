"""Points on blended rigid motions and their gradients, for GPUs: the twin of `blend.cpp`. Imported only where Triton is installed.

A program is a block of points. A rotation's gradient is a rotation vector (`triton_algebra.by_frame`). What the motions get is summed within the
program, written to a place of its own and added up by torch: nothing is added atomically, the same input gives the same bits.
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
from fourfold.kernels.triton_algebra import (
    by_frame,
    by_unit,
    conjugate,
    cross,
    dot,
    four,
    frame,
    in_frame,
    plus,
    plus4,
    product,
    put_four,
    put_three,
    quaternion_of,
    three,
    torque_of,
    unit,
)

BLOCK = 32  # points of a program: with more, a thread has too few registers in the backward pass


@triton.jit
def softmax_of(logits, n, on, b, bases):
    """(BLOCK, WIDE) shares of the bases, 0 beyond the last."""
    value = tl.load(logits + n[:, None] * bases + b[None, :], mask=on[:, None] & (b < bases)[None, :], other=0.0)
    value = tl.where((b < bases)[None, :], value, float("-inf"))
    share = tl.exp(value - tl.max(value, 1)[:, None])
    return share / tl.sum(share, 1)[:, None]


@triton.jit
def mixed(shares, table, b, bases, place: tl.constexpr):
    """Number `place` of the motions (B, 9), blended: (BLOCK,)."""
    return tl.sum(shares * tl.load(table + b * 9 + place, mask=b < bases, other=0.0)[None, :], 1)


@triton.jit
def mixed_three(shares, table, b, bases, place: tl.constexpr):
    """Three of them."""
    one, two = mixed(shares, table, b, bases, place), mixed(shares, table, b, bases, place + 1)
    return (one, two, mixed(shares, table, b, bases, place + 2))


@triton.jit
def blame(by_shares, shares, gradient, table, by_table, b, bases, place: tl.constexpr):
    """Adds to the gradient of the shares, and writes the block's part of that of the motions, for number `place`."""
    row = tl.load(table + b * 9 + place, mask=b < bases, other=0.0)
    tl.store(by_table + b * 9 + place, tl.sum(shares * gradient[:, None], 0), mask=b < bases)
    return by_shares + gradient[:, None] * row[None, :]


@triton.jit
def blame_three(by_shares, shares, gradient, table, by_table, b, bases, place: tl.constexpr):
    """For three of them."""
    by_shares = blame(by_shares, shares, gradient[0], table, by_table, b, bases, place)
    by_shares = blame(by_shares, shares, gradient[1], table, by_table, b, bases, place + 1)
    return blame(by_shares, shares, gradient[2], table, by_table, b, bases, place + 2)


@triton.jit
def blend_kernel(
    logits, means, quats, motions, pivot, positions, turns, points, bases, turned, WIDE: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """One time of a block of points: R (mean - pivot) + pivot + translation, and the quaternion of R times theirs."""
    n, b, q = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, WIDE), tl.program_id(1)
    on = n < points
    shares, table = softmax_of(logits, n, on, b, bases), motions + q * bases * 9
    x, y, z, _lengths = frame(mixed_three(shares, table, b, bases, 0), mixed_three(shares, table, b, bases, 3))
    middle = (tl.load(pivot), tl.load(pivot + 1), tl.load(pivot + 2))
    moved = in_frame(x, y, z, plus(three(means, n, on), middle, -1.0))
    moved = plus(plus(moved, mixed_three(shares, table, b, bases, 6), 1.0), middle, 1.0)
    put_three(positions + q * points * 3, n, moved, on)
    if q < turned:
        own, _length = unit(four(quats, n * 4, on))
        put_four(turns, (q * points + n) * 4, product(quaternion_of(x, y, z), own), on)


@triton.jit
def blend_backward_kernel(
    logits, means, quats, motions, pivot, of_positions, of_turns, by_logits, by_means, by_quats, by_motions, points, bases, times, turned,
    MOVED: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """All times of a block of points. MOVED: there is a gradient of positions; `turned` times have one of quaternions."""
    n, b = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, WIDE)
    on = n < points
    shares = softmax_of(logits, n, on, b, bases)
    middle = (tl.load(pivot), tl.load(pivot + 1), tl.load(pivot + 2))
    offset = plus(three(means, n, on), middle, -1.0)
    own, own_length = unit(four(quats, n * 4, on))
    none = tl.zeros([BLOCK], tl.float32)
    by_shares = shares * 0.0
    by_offset, by_own = (none, none, none), (none, none, none, none)
    for q in range(times):
        table, by_table = motions + q * bases * 9, by_motions + (tl.program_id(0) * times + q) * bases * 9
        x, y, z, lengths = frame(mixed_three(shares, table, b, bases, 0), mixed_three(shares, table, b, bases, 3))
        of_moved, torque = (none, none, none), (none, none, none)
        if MOVED:
            of_moved = three(of_positions + q * points * 3, n, on)
            torque = cross(in_frame(x, y, z, offset), of_moved)
            by_offset = plus(by_offset, (dot(x, of_moved), dot(y, of_moved), dot(z, of_moved)), 1.0)
        if q < turned:
            turn, of_turned = quaternion_of(x, y, z), four(of_turns, (q * points + n) * 4, on)
            torque = plus(torque, torque_of(of_turned, product(turn, own)), 1.0)
            by_own = plus4(by_own, product(conjugate(turn), of_turned), 1.0)
        first, second = by_frame(x, y, z, lengths, torque)
        by_shares = blame_three(by_shares, shares, first, table, by_table, b, bases, 0)
        by_shares = blame_three(by_shares, shares, second, table, by_table, b, bases, 3)
        by_shares = blame_three(by_shares, shares, of_moved, table, by_table, b, bases, 6)
    by_value = shares * (by_shares - tl.sum(by_shares * shares, 1)[:, None])
    tl.store(by_logits + n[:, None] * bases + b[None, :], by_value, mask=on[:, None] & (b < bases)[None, :])
    put_three(by_means, n, by_offset, on)
    put_four(by_quats, n * 4, by_unit(own, own_length, by_own), on)


class BlendOnGpu(torch.autograd.Function):
    """Arguments: how many times are `turned`; logits (N, B), means (N, 3), quaternions (N, 4), motions (Q, B, 9), pivot (3,): contiguous float32."""

    @staticmethod
    def forward(ctx: Any, turned: int, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        logits, means, _, motions, _ = tensors
        points, times = len(means), len(motions)
        positions, turns = means.new_empty(times, points, 3), means.new_empty(turned, points, 4)
        bases = logits.shape[1]
        grid = (triton.cdiv(points, BLOCK), times)
        launch(blend_kernel, grid, *tensors, positions, turns, points, bases, turned, WIDE=triton.next_power_of_2(bases), BLOCK=BLOCK)
        ctx.save_for_backward(*tensors)
        ctx.turned = turned
        ctx.set_materialize_grads(False)
        return positions, turns

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        points, bases, times = len(tensors[1]), tensors[0].shape[1], len(tensors[3])
        of_positions, of_turns = (None if g is None else g.contiguous() for g in upstream)
        results, blocks = [torch.empty_like(t) for t in tensors[:3]], triton.cdiv(points, BLOCK)
        parts = tensors[3].new_empty(blocks, times, bases, 9)
        sizes = (points, bases, times, 0 if of_turns is None else ctx.turned)
        constants = {"MOVED": of_positions is not None, "WIDE": triton.next_power_of_2(bases), "BLOCK": BLOCK}
        launch(blend_backward_kernel, (blocks,), *tensors, of_positions, of_turns, *results, parts, *sizes, **constants)
        return None, *results, parts.sum(0), None
