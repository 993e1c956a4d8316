"""Points moved to several times in one pass of a kernel, told in groups of times: each image's own, and those that losses ask for beside them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.host import joined


@dataclass(frozen=True)
class Groups:
    """How many times each group has: `places` of those that ask for positions, all Q times, and `turns` of those that ask for quaternions too,
    which are the first times."""

    places: tuple[int, ...]
    turns: tuple[int, ...]

    @property
    def turned(self) -> int:
        """How many of the first times ask for quaternions."""
        return sum(self.turns)

    def room(self, like: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Room for positions (K, N, 3) and quaternions (K, N, 4) of each group, of N points `like` (N, ...)."""
        points = len(like)
        return [like.new_empty(k, points, 3) for k in self.places], [like.new_empty(k, points, 4) for k in self.turns]

    def split(self, positions: Tensor, quats: Tensor) -> tuple[Tensor, ...]:
        """Positions (Q, N, 3) and quaternions (turned, N, 4) in groups, one after the other."""
        return *positions.split(self.places), *quats.split(self.turns)


def addresses(groups: Sequence[Tensor | None], sizes: Sequence[int]) -> tuple[ctypes.Array[ctypes.c_void_p] | None, list[Tensor]]:
    """Where the rows of each time lie in groups (K, N, C), null where there is none; and what must be kept until they are read."""
    found: list[int | None] = []
    kept: list[Tensor] = []
    for group, size in zip(groups, sizes, strict=True):
        if group is None:
            found += [None] * size
            continue
        whole = group if group.stride()[1:] == (group.shape[2], 1) else group.contiguous()
        kept.append(whole)
        found += [whole.data_ptr() + 4 * whole.stride(0) * k for k in range(size)]
    return ((ctypes.c_void_p * len(found))(*found) if found else None), kept


def gaussians_and_places(
    moved: Callable[[Tensor, Groups], tuple[Tensor, ...]], still: Gaussians, times: Tensor, further: Sequence[Tensor]
) -> tuple[list[Gaussians], list[Tensor]]:
    """`still` moved to each of `times` (Q,), and its positions (K, N, 3) at each of the `further` times (K,), in one call of `moved`.

    `moved` answers with positions and quaternions in groups.
    """
    alone = (1,) * len(times)
    groups = Groups((*alone, *(len(moments) for moments in further)), alone)
    found = moved(joined([times, *further]) if further else times, groups)
    count, places = len(times), len(groups.places)
    turned = zip(found[:count], found[places:], strict=True)
    return [replace(still, means=means.squeeze(0), quat_wxyz=quats.squeeze(0)) for means, quats in turned], list(found[count:places])
