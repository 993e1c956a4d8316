"""Which tiles each Gaussian touches, as one list, and the sums of what the tiles found out about each Gaussian."""
# pyright: basic, reportArgumentType=false, reportIndexIssue=false, reportGeneralTypeIssues=false

import triton
import triton.language as tl


@triton.jit
def list_kernel(order, ends, counts, boxes, tiles, owners, n, ranks, total, steps, tiles_x, tiles_of_view, BLOCK: tl.constexpr):
    """Entry i of the list belongs to the rank whose `ends` passes i first, found by halving: writes its tile and its Gaussian.

    order, ends: (ranks,) row and cumulated count of each rank; counts, boxes: by row. `steps` halvings reach one of `ranks`.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    on = i < total
    low, high = tl.zeros([BLOCK], tl.int32), tl.zeros([BLOCK], tl.int32) + (ranks - 1)
    for _ in range(steps):
        middle = (low + high) // 2
        passed = tl.load(ends + middle, mask=on, other=0) <= i
        low, high = tl.where(passed, tl.minimum(middle + 1, high), low), tl.where(passed, high, middle)
    row = tl.load(order + low, mask=on, other=0).to(tl.int32)
    nth = i - (tl.load(ends + low, mask=on, other=0) - tl.load(counts + row, mask=on, other=0)).to(tl.int32)
    left, top, right = (
        tl.load(boxes + row * 4, mask=on, other=0),
        tl.load(boxes + row * 4 + 1, mask=on, other=0),
        tl.load(boxes + row * 4 + 2, mask=on, other=0),
    )
    columns = right - left + 1
    tile = (row // n) * tiles_of_view + (top + nth // columns) * tiles_x + left + nth % columns
    tl.store(tiles + i, tile, mask=on)
    tl.store(owners + i, row, mask=on)


@triton.jit
def sum_kernel(order, ends, counts, records, sums, ranks, width, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Adds the records (entries, width) of each Gaussian, which lie side by side, in their order: no two programs write to one place."""
    rank = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    on = rank < ranks
    row = tl.load(order + rank, mask=on, other=0)
    count = tl.load(counts + row, mask=on, other=0)
    begin = tl.load(ends + rank, mask=on, other=0) - count
    k = tl.arange(0, WIDTH)
    total = tl.zeros([BLOCK, WIDTH], tl.float32)
    for i in range(tl.max(count, 0)):
        total += tl.load(records + (begin + i)[:, None] * width + k[None, :], mask=(i < count)[:, None] & (k < width)[None, :], other=0.0)
    tl.store(sums + row[:, None] * width + k[None, :], total, mask=on[:, None] & (k < width)[None, :])
