"""Memory that comes and goes in every step of training, and with every large array of the priors, stays with the process."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of mallopt(3)
KEPT_BYTES = 128 << 20
"""Free memory at the end of the heap is given back to the system only beyond this."""
LARGEST_BYTES = 32 << 20
"""Larger pieces come from the system and go back to it: the most that mallopt takes."""


def keep_freed_memory() -> None:
    """Let the C library keep what is freed for what is asked for next.

    A step allocates and frees some twenty megabytes of images and gradients; glibc's default gives them back to the system each time, which then
    hands out the same pages again one by one, zeroed: 600 to 900 page faults in a step. Nothing is done where the library is another one.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        library.mallopt(_MMAP_THRESHOLD, LARGEST_BYTES)
