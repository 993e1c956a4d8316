"""Weighted means without the worst and their gradient, for GPUs: the twin of `trimmed.cpp`. Imported only where Triton is installed.

The quantile is that of a regular subsample, which torch sorts; every program finds for itself where among it the limit is.
"""
# pyright: basic, reportArgumentType=false, reportIndexIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from fourfold.kernels.devices import launch
from fourfold.kernels.triton_segments import count_below

BLOCK = 1024
HALVINGS = tl.constexpr(16)  # enough to find a place among 2^15 samples


@triton.jit
def error_at(residual, weight, i, on, step, WEIGHT: tl.constexpr, SIGNED: tl.constexpr):
    """Error, its slope in the residual, and weight at `i`: of the difference to the element `step` further on, or of itself where step is 0."""
    value = tl.load(residual + i, mask=on, other=0.0)
    share = tl.where(on, 1.0, 0.0)
    if WEIGHT:
        share = tl.load(weight + i, mask=on, other=0.0)
    if step > 0:
        value = tl.load(residual + i + step, mask=on, other=0.0) - value
        if WEIGHT:
            share = share * tl.load(weight + i + step, mask=on, other=0.0)
    slope = tl.where(on, 1.0, 0.0)
    if SIGNED:
        slope = tl.where(value > 0, slope, tl.where(value < 0, -slope, 0.0))
        value = tl.abs(value)
    return value, slope, share


@triton.jit
def sample_kernel(
    residual, weight, samples, count, stride, width, step, WEIGHT: tl.constexpr, SIGNED: tl.constexpr, ALL: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Every `stride`-th error, infinite where no weight asks for it. `width` is what a row of `step` 1 has, of which its last has no difference."""
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    on, i = k < count, k * stride
    if step == 1:
        i = i // (width - 1) * width + i % (width - 1)
    error, _, share = error_at(residual, weight, i, on, step, WEIGHT, SIGNED)
    if WEIGHT and not ALL:
        error = tl.where(share > 0, error, float("inf"))
    tl.store(samples + k, error, mask=on)


@triton.jit
def limits_of(ordered, size, level):
    """Below the first all errors are kept, up to the second too: of errors that are all alike, and of a single one, there is no worst.

    The first is the quantile `level` of what is finite of `ordered`, linear between neighbours.
    """
    finite = count_below(ordered, float("inf"), size, HALVINGS)
    last = tl.maximum(finite - 1, 0)
    place = last.to(tl.float32) * level
    below = place.to(tl.int32)
    share = place - below.to(tl.float32)
    a, b = tl.load(ordered + below), tl.load(ordered + tl.minimum(below + 1, last))
    limit = tl.where(share < 0.5, a + share * (b - a), b - (b - a) * (1.0 - share))
    return limit, tl.where(finite < 2, float("inf"), tl.where(tl.load(ordered) >= limit, limit, float("-inf")))


@triton.jit
def mean_kernel(
    residual, weight, ordered, gradient, sums, size, sampled, level, width, step,
    WEIGHT: tl.constexpr, SIGNED: tl.constexpr, TRIM: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Sums of weighted errors and of weights of each block, and the gradient of the former in the residuals."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    on = i < size
    here, there = on, (i >= step) & on
    if step == 1:
        here, there = on & (i % width < width - 1), on & (i % width > 0)
    elif step > 1:
        here = i + step < size
    error, slope, share = error_at(residual, weight, i, here, step, WEIGHT, SIGNED)
    if TRIM:
        limit, alike = limits_of(ordered, sampled, level)
        share = tl.where((error < limit) | (error <= alike), share, 0.0)
    tl.store(sums + 2 * tl.program_id(0), tl.sum(tl.where(share > 0, error * share, 0.0), 0))
    tl.store(sums + 2 * tl.program_id(0) + 1, tl.sum(share, 0))
    total = slope * share
    if step > 0:
        error, slope, share = error_at(residual, weight, i - step, there, step, WEIGHT, SIGNED)
        if TRIM:
            share = tl.where((error < limit) | (error <= alike), share, 0.0)
        total = slope * share - total
    tl.store(gradient + i, total, mask=on)


@triton.jit
def finish_kernel(sums, result, blocks, BLOCK: tl.constexpr):
    """The mean, and what its gradient is divided by."""
    i = tl.arange(0, BLOCK)
    errors, weights = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for first in range(0, blocks, BLOCK):
        on = first + i < blocks
        errors += tl.load(sums + 2 * (first + i), mask=on, other=0.0)
        weights += tl.load(sums + 2 * (first + i) + 1, mask=on, other=0.0)
    share = 1.0 / (tl.sum(weights, 0) + 1e-8)
    tl.store(result, tl.sum(errors, 0) * share)
    tl.store(result + 1, share)


@dataclass(frozen=True)
class Trim:
    """How `TrimmedOnGpu` compares.

    Attributes:
        level: quantile from which on errors are left out; 1 keeps all.
        axis: 0 or 1 for differences between neighbours along an axis of (H, W), None for the residuals themselves.
        signed: the error is the residual's absolute value; else the residual is not negative and is the error.
        before_masking: the quantile is that of all errors instead of those with weight.
        sample: size of the subsample.
    """

    level: float
    axis: int | None
    signed: bool
    before_masking: bool
    sample: int


class TrimmedOnGpu(torch.autograd.Function):
    """Value and gradient at once; backward only scales the gradient. Arguments: residual, weight or None (float32, the same shape), a `Trim`."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, weight: Tensor | None, trim: Trim) -> Tensor:
        residual, weight = residual.contiguous(), None if weight is None else weight.to(torch.float32).contiguous()
        size = residual.numel()
        height, width = residual.shape if trim.axis is not None else (1, size)
        step = {None: 0, 0: width, 1: 1}[trim.axis]
        compared = {None: size, 0: size - width, 1: size - height}[trim.axis]
        flags, samples, ordered = {"WEIGHT": weight is not None, "SIGNED": trim.signed, "BLOCK": BLOCK}, 0, None
        if trim.level < 1:
            stride = max(1, -(-compared // trim.sample))
            stride = stride if stride == 1 else stride | 1  # as `robust.subsample`
            samples = -(-compared // stride)
            found = residual.new_empty(samples)
            grid = (triton.cdiv(samples, BLOCK),)
            launch(sample_kernel, grid, residual, weight, found, samples, stride, width, step, ALL=trim.before_masking, **flags)
            ordered = found.sort().values
        blocks = triton.cdiv(size, BLOCK)
        gradient, sums, result = torch.empty_like(residual), residual.new_empty(blocks, 2), residual.new_empty(2)
        launch(
            mean_kernel, (blocks,), residual, weight, ordered, gradient, sums, size, samples, trim.level, width, step, TRIM=trim.level < 1, **flags
        )
        launch(finish_kernel, (1,), sums, result, blocks, BLOCK=BLOCK)
        ctx.save_for_backward(gradient, result)
        return result[0]

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        gradient, result = ctx.saved_tensors
        return gradient * (result[1] * upstream[0]), None, None
