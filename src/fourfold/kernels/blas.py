"""Linear algebra of NumPy and SciPy on one thread: sums then come out the same whatever the number of cores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside, every BLAS library of this process works on one thread.

    How a BLAS cuts a sum depends on its number of threads, and so do the last bits of products and decompositions.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield
