"""Structural similarity of two images and its gradient, for GPUs: the twin of `ssim.cpp`. Imported only where Triton is installed.

Images lie as (H, W C) numbers, so that a horizontal tap is a step of C. With blurred means mx, my, S = blur(x^2 + y^2) and P = blur(x y):
s = A1 A2 / (B1 B2), A1 = 2 mx my + C1, A2 = 2 (P - mx my) + C2, B1 = mx^2 + my^2 + C1, B2 = S - mx^2 - my^2 + C2. The blur is its own adjoint:
d/dx sum(w s) = blur(w ds/dmx) + 2 x blur(w ds/dS) + y blur(w ds/dP).
"""
# pyright: basic, reportArgumentType=false, reportIndexIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

REACH = tl.constexpr(5)  # taps on either side
SPREAD = tl.constexpr(4.5)  # twice the variance of the window, square pixels
NORM = tl.constexpr(0.266011725)  # the middle one of the 11 taps, whose sum is 1
C1, C2 = tl.constexpr(0.0001), tl.constexpr(0.0009)
BLOCK = 512


@triton.jit
def moments_kernel(image, target, fields, height, length, BLOCK: tl.constexpr):
    """Blurs x, y, x^2 + y^2 and x y down the columns: fields (4, H, W C)."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    size = height * length
    row = i // length
    a, b = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    c, d = a, a
    for tap in range(-REACH, REACH + 1):
        on = (i < size) & (row + tap >= 0) & (row + tap < height)
        share = tl.exp(-(tap * tap) / SPREAD) * NORM
        x, y = tl.load(image + i + tap * length, mask=on, other=0.0), tl.load(target + i + tap * length, mask=on, other=0.0)
        a += share * x
        b += share * y
        c += share * (x * x + y * y)
        d += share * (x * y)
    tl.store(fields + i, a, mask=i < size)
    tl.store(fields + size + i, b, mask=i < size)
    tl.store(fields + 2 * size + i, c, mask=i < size)
    tl.store(fields + 3 * size + i, d, mask=i < size)


@triton.jit
def _across(field, i, column, size, length, channels, BLOCK: tl.constexpr):
    """The field blurred along the rows."""
    total = tl.zeros([BLOCK], tl.float32)
    for tap in range(-REACH, REACH + 1):
        at = column + tap * channels
        share = tl.exp(-(tap * tap) / SPREAD) * NORM
        total += share * tl.load(field + i + tap * channels, mask=(i < size) & (at >= 0) & (at < length), other=0.0)
    return total


@triton.jit
def similarity_kernel(fields, weight, slopes, sums, height, length, channels, WEIGHT: tl.constexpr, BLOCK: tl.constexpr):
    """Adds up w s of each block into `sums`, and writes w ds/dmx, w ds/dS and w ds/dP: slopes (3, H, W C)."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    size = height * length
    column = i % length
    mx, my = _across(fields, i, column, size, length, channels, BLOCK), _across(fields + size, i, column, size, length, channels, BLOCK)
    both, product = (
        _across(fields + 2 * size, i, column, size, length, channels, BLOCK),
        _across(fields + 3 * size, i, column, size, length, channels, BLOCK),
    )
    a1, a2, b1, b2 = 2.0 * mx * my + C1, 2.0 * (product - mx * my) + C2, mx * mx + my * my + C1, both - mx * mx - my * my + C2
    inverse = 1.0 / (b1 * b2)
    s = a1 * a2 * inverse
    w = tl.where(i < size, 1.0, 0.0)
    if WEIGHT:
        w = tl.load(weight + i // channels, mask=i < size, other=0.0)
    tl.store(sums + tl.program_id(0), tl.sum(w * s, 0))
    tl.store(slopes + i, w * (2.0 * my * (a2 - a1) * inverse - 2.0 * mx * s * (1.0 / b1 - 1.0 / b2)), mask=i < size)
    tl.store(slopes + size + i, -w * s / b2, mask=i < size)
    tl.store(slopes + 2 * size + i, w * 2.0 * a1 * inverse, mask=i < size)


@triton.jit
def spread_kernel(slopes, spread, height, length, BLOCK: tl.constexpr):
    """Blurs the three slopes down the columns."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    size = height * length
    row = i // length
    a = tl.zeros([BLOCK], tl.float32)
    b, c = a, a
    for tap in range(-REACH, REACH + 1):
        on = (i < size) & (row + tap >= 0) & (row + tap < height)
        share = tl.exp(-(tap * tap) / SPREAD) * NORM
        a += share * tl.load(slopes + i + tap * length, mask=on, other=0.0)
        b += share * tl.load(slopes + size + i + tap * length, mask=on, other=0.0)
        c += share * tl.load(slopes + 2 * size + i + tap * length, mask=on, other=0.0)
    tl.store(spread + i, a, mask=i < size)
    tl.store(spread + size + i, b, mask=i < size)
    tl.store(spread + 2 * size + i, c, mask=i < size)


@triton.jit
def gradient_kernel(image, target, spread, gradient, height, length, channels, BLOCK: tl.constexpr):
    """d sum(w s) / d image."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    size = height * length
    column = i % length
    of_mean, of_square = _across(spread, i, column, size, length, channels, BLOCK), _across(spread + size, i, column, size, length, channels, BLOCK)
    of_product = _across(spread + 2 * size, i, column, size, length, channels, BLOCK)
    x, y = tl.load(image + i, mask=i < size, other=0.0), tl.load(target + i, mask=i < size, other=0.0)
    tl.store(gradient + i, of_mean + 2.0 * x * of_square + y * of_product, mask=i < size)


class FusedOnGpu(torch.autograd.Function):
    """Value and gradient at once; backward only scales the gradient. Arguments: image, target (H, W, C) float32, weight (H, W) or None."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        image, target = image.contiguous(), target.contiguous()
        height, width, channels = image.shape
        length, blocks = width * channels, -(-image.numel() // BLOCK)
        fields, slopes, sums = image.new_empty(4, *image.shape), image.new_empty(3, *image.shape), image.new_empty(blocks)
        weight = None if weight is None else weight.to(torch.float32).contiguous()
        _launch(moments_kernel, blocks, image, target, fields, height, length)
        _launch(similarity_kernel, blocks, fields, weight, slopes, sums, height, length, channels, WEIGHT=weight is not None)
        total = image.new_full((), height * width) if weight is None else weight.sum()
        share = torch.where(total > 0, 1 / (channels * total), 0)
        if ctx.needs_input_grad[0]:
            gradient = torch.empty_like(image)
            _launch(spread_kernel, blocks, slopes, fields, height, length)
            _launch(gradient_kernel, blocks, image, target, fields, gradient, height, length, channels)
            ctx.save_for_backward(gradient, share)
        return torch.where(total > 0, sums.sum() * share, 1)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        gradient, share = ctx.saved_tensors
        return gradient * (share * upstream[0]), None, None


def _launch(kernel: Any, blocks: int, *arguments: Tensor | int | None, **constants: int) -> None:
    kernel[(blocks,)](*arguments, BLOCK=BLOCK, **constants)
