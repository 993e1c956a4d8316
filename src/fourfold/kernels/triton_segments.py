"""Sums over what belongs to the same row, in a fixed order, for GPUs: `index_add` with the same bits again.

Imported only where Triton is installed.
"""
# pyright: basic, reportArgumentType=false, reportIndexIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from fourfold.kernels.devices import launch

BLOCK = 32
HALVINGS = tl.constexpr(31)


@triton.jit
def count_below(ordered, value, entries, HALVINGS: tl.constexpr):
    """How many of `ordered` (entries,), which grow, are below `value`; HALVINGS: enough for so many entries."""
    low = tl.program_id(0) * 0
    high = low + entries
    for _ in range(HALVINGS):
        middle = (low + high) // 2
        below = (middle < entries) & (tl.load(ordered + middle, mask=middle < entries, other=0) < value)
        low, high = tl.where(below, middle + 1, low), tl.where(below, high, middle)
    return low


@triton.jit
def bounds_of(ordered, row, entries):
    """Where the entries of `row` begin and end."""
    return count_below(ordered, row, entries, HALVINGS), count_below(ordered, row + 1, entries, HALVINGS)


@triton.jit
def segments_kernel(ordered, order, values, sums, entries, width, WIDE: tl.constexpr, BLOCK: tl.constexpr):
    """The sum (width,) of the `values` (entries, width) of one row, of whose columns the program has a block."""
    row, c = tl.program_id(0), tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    begin, end = bounds_of(ordered, row, entries)
    total = tl.zeros([BLOCK, WIDE], tl.float32)
    for start in range(begin, end, BLOCK):
        i = start + tl.arange(0, BLOCK)
        entry = tl.load(order + i, mask=i < end, other=0)
        total += tl.load(values + entry[:, None] * width + c[None, :], mask=(i < end)[:, None] & (c < width)[None, :], other=0.0)
    tl.store(sums + row * width + c, tl.sum(total, 0), mask=c < width)


def sum_by_row(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """(count, C) sums of `values` (E, C) float32 that have the same number in `rows` (E,) int64: two launches."""
    ordered, order = rows.sort(stable=True)
    width = values.shape[1]
    sums, wide = values.new_empty(count, width), min(triton.next_power_of_2(width), 16)
    launch(segments_kernel, (count, triton.cdiv(width, wide)), ordered, order, values, sums, len(rows), width, WIDE=wide, BLOCK=BLOCK)
    return sums
