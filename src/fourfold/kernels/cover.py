"""A greedy cover of cells by groups of them: what tracks or seeds are taken when each should add something."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from fourfold.kernels.library import load

Whole = NDArray[np.int64]


def cover(order: Whole, first: Whole, cells: Whole, per: int, share: float, strictly: bool) -> NDArray[np.bool_]:
    """(G,) which groups are kept when they are looked at in this order.

    Args:
        order: numbers of the groups that are looked at; the others are not kept.
        first: (G + 1,) where the cells of each group begin in `cells`; no cell is in one group twice.
        cells: (M,) numbers of cells, from 0.
        per: a cell is open until so many groups that were kept hold it.
        share: of a group's cells that must be open, at least, or more than that with `strictly`.
    """
    library = load()
    if library is None:
        return cover_reference(order, first, cells, per, share, strictly)
    order, first, cells = (np.ascontiguousarray(a, np.int64) for a in (order, first, cells))
    held, kept = np.zeros(int(cells.max(initial=0)) + 1, np.int64), np.zeros(len(first) - 1, np.uint8)
    at = [ctypes.c_void_p(a.ctypes.data) for a in (order, first, cells, held, kept)]
    count, most, strict = ctypes.c_int64(len(order)), ctypes.c_int64(per), ctypes.c_int64(strictly)
    library.ff_cover(at[0], count, at[1], at[2], most, ctypes.c_float(share), strict, at[3], at[4])
    return kept.astype(bool)


def cover_reference(order: Whole, first: Whole, cells: Whole, per: int, share: float, strictly: bool) -> NDArray[np.bool_]:
    """The plain twin of `cover`."""
    held, kept = np.zeros(int(cells.max(initial=0)) + 1, np.int64), np.zeros(len(first) - 1, bool)
    for group in order:
        mine = cells[first[group] : first[group + 1]]
        found, wanted = (held[mine] < per).sum(), share * len(mine)
        kept[group] = found > wanted if strictly else found >= wanted
        if kept[group]:
            held[mine] += 1
    return kept
