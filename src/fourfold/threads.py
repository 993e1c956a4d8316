"""Independent pieces of work on all cores, their results in the order of the pieces whatever the number of threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def in_threads(work: Callable[..., T], *columns: Iterable[object]) -> Iterator[T]:
    """`work` of each row of the `columns`, as `map` gives it."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        yield from pool.map(work, *columns)
