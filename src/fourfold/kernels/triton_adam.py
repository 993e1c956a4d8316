"""Adam on one tensor in one launch, for GPUs: the twin of `adam.cpp`. Imported only where Triton is installed."""
# pyright: basic, reportArgumentType=false, reportIndexIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl

BLOCK = 1024


@triton.jit
def adam_kernel(
    param, grad, first, second, rows, total, width, rate, keep_first, keep_second, by_root, epsilon,
    ROWS: tl.constexpr, FRESH: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """`total` numbers, `width` a row; `rate` and `by_root` hold the bias corrections. Rows flagged 0 in `rows` keep value and moments.

    FRESH: the moments are zero, whatever memory holds.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = i < total
    on = there
    if ROWS:
        on = there & (tl.load(rows + i // width, mask=there, other=0) != 0)
    g = tl.load(grad + i, mask=on, other=0.0)
    m, v = (1.0 - keep_first) * g, (1.0 - keep_second) * g * g
    if not FRESH:
        m += keep_first * tl.load(first + i, mask=on, other=0.0)
        v += keep_second * tl.load(second + i, mask=on, other=0.0)
    written = there if FRESH else on  # of rows that are not on, g and so the moments are zero
    tl.store(first + i, m, mask=written)
    tl.store(second + i, v, mask=written)
    value = tl.load(param + i, mask=on, other=0.0)
    tl.store(param + i, value - rate * m / (tl.sqrt(v) * by_root + epsilon), mask=on)
