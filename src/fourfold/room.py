"""Room on the disk and in memory: what a stage will need is compared with what is free before the stage begins, and again while it works."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path

from fourfold.errors import FourfoldError

if sys.platform != "win32":
    import resource

_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "insufficient memory", "bad_alloc")
SMALLER = "free some, or ask for less with a lower --quality or --max-frames; what is finished stays, and the same command again continues"


def free_disk(path: Path) -> int:
    """Bytes that may still be written where `path` lies or will lie."""
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    usage = shutil.disk_usage(there)
    return usage.free if usage.total else sys.maxsize  # a file system without a size, as a tmpfs without a limit, tells zeros


def free_memory() -> int | None:
    """Bytes that this process may still use: of the machine, of its container and of its own limit; None where nothing tells."""
    known = [value for value in (_of_machine(), _of_container(), _of_limit()) if value is not None]
    return min(known) if known else None


def check_disk(path: Path, needed: int, what: str) -> None:
    """FourfoldError if `what`, which will write about `needed` bytes to the place of `path`, finds less free there."""
    free = free_disk(path)
    if needed > free:
        raise FourfoldError(f"{what} needs about {said(needed)} on the disk of {path} and {said(free)} are free: {SMALLER}")


def check_memory(needed: int, what: str, free: int | None) -> None:
    """FourfoldError if `what`, which will need about `needed` bytes of memory, has less; `free` None is not known and enough."""
    if free is not None and needed > free:
        raise FourfoldError(f"{what} needs about {said(needed)} of memory and {said(free)} are free: {SMALLER}")


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory was refused: as Python does, or in the words of torch, OpenCV or the system."""
    if isinstance(error, FourfoldError):
        return False
    return (
        isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM) or any(w in str(error).lower() for w in _WORDS)
    )


def said(count: int) -> str:
    """Bytes in words: 512 kB, 1.5 GB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.0f} kB"


def _of_machine() -> int | None:
    return _numbers(Path("/proc/meminfo")).get("MemAvailable:")


def _of_container() -> int | None:
    """What the control group of a container leaves, where it limits memory."""
    folder = Path("/sys/fs/cgroup")
    try:
        return max(0, int((folder / "memory.max").read_text()) - int((folder / "memory.current").read_text()))
    except (OSError, ValueError):  # "max": no limit
        return None


def _of_limit() -> int | None:
    """What the limit of the process's address space leaves."""
    if sys.platform == "win32":  # has no such limit
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    try:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
    return None if limit == resource.RLIM_INFINITY else max(0, limit - used)


def _numbers(file: Path) -> dict[str, int]:
    """Name -> bytes of a file of lines like "MemAvailable:  1024 kB"."""
    try:
        lines = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return {}
    return {words[0]: int(words[1]) * 1024 for words in lines if len(words) == 3 and words[1].isdigit()}
