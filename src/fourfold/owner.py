"""One process at a time works on a run: a lock with the owner's process and machine, which a dead owner does not keep."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fourfold.errors import FourfoldError
from fourfold.interruption import alive, temporary

OWNER_FILE = ".owner.json"


@contextmanager
def owned(root: Path) -> Iterator[None]:
    """Own the run in `root` for the time of the block. A folder that was not there is made, and goes again if nothing was put into it.

    Raises:
        FourfoldError: another process owns it, with its number and machine. On another machine nobody can see whether it is still there.
    """
    new = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        above = next(p for p in (root, *root.parents) if p.exists())
        if above == root:
            raise FourfoldError(f"{root} is a file and not a run's folder: name another folder") from error
        raise FourfoldError(f"{root} cannot be made, since {above} is a file: choose another output folder") from error
    lock = root / OWNER_FILE
    me: dict[str, object] = {"process": os.getpid(), "host": platform.node(), "began": _began(os.getpid())}
    while not _taken_in(root, lock, me):
        holder = _holder(lock)
        if holder is not None and (holder == me or not _gone(holder)):
            where = "" if holder["host"] == me["host"] else f" on {holder['host']}"
            raise FourfoldError(
                f"process {holder['process']}{where} is working on {root}: wait for its end or choose another output folder "
                f"(if there is no such process any more, delete {lock})"
            )
        _set_aside(lock, holder)
    try:
        with temporary(lock):
            yield
    finally:
        lock.unlink(missing_ok=True)
        if new:
            with suppress(OSError):
                root.rmdir()


def _taken_in(root: Path, lock: Path, me: dict[str, object]) -> bool:
    """`_taken`, where an owner before us may take its empty folder away in the same moment: then it is made again."""
    while True:
        try:
            return _taken(lock, me)
        except FileNotFoundError:
            root.mkdir(parents=True, exist_ok=True)


def release_from_another_machine(root: Path) -> None:
    """Take the lock of `root` away from an owner on another machine, which the caller knows to be lost."""
    holder = _holder(root / OWNER_FILE)
    if holder is not None and holder["host"] != platform.node():
        _set_aside(root / OWNER_FILE, holder)


def wait_until_free(root: Path, seconds: float) -> None:
    """Wait, at most so many seconds, until no living process owns the run in `root`."""
    deadline = time.monotonic() + seconds
    while (holder := _holder(root / OWNER_FILE)) is not None and not _gone(holder) and time.monotonic() < deadline:
        time.sleep(0.1)


def worked_on(root: Path) -> bool:
    """Whether a process that may be alive works on the run in `root`."""
    holder = _holder(root / OWNER_FILE)
    return holder is not None and not _gone(holder)


def _taken(lock: Path, me: dict[str, object]) -> bool:
    """Whether the lock could be written: a file with its content appears at once or, where one is there, not at all."""
    draft = lock.with_name(f"{lock.name}.{os.getpid()}")
    draft.write_text(json.dumps(me))
    try:
        os.link(draft, lock)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        if lock.exists():
            return False
        os.replace(draft, lock)
    finally:
        draft.unlink(missing_ok=True)
    return True


def _set_aside(lock: Path, dead: dict[str, object] | None) -> None:
    """Remove the lock of a `dead` holder; one that somebody else wrote in the meantime is put back."""
    aside = lock.with_name(f"{lock.name}.{os.getpid()}.dead")
    with suppress(FileNotFoundError):
        os.replace(lock, aside)
        if _holder(aside) != dead:
            with suppress(OSError):
                os.link(aside, lock)
        aside.unlink()


def _holder(lock: Path) -> dict[str, object] | None:
    """Who holds the lock, None where it went or cannot be read (then it belongs to nobody)."""
    try:
        holder = json.loads(lock.read_text())
    except (OSError, ValueError):
        return None
    return holder if isinstance(holder, dict) and isinstance(holder.get("process"), int) and "host" in holder else None


def _gone(holder: dict[str, object]) -> bool:
    """Whether the holder is known to be no more; a number that another process has taken since began at another time."""
    if holder["host"] != platform.node():
        return False
    process = int(str(holder["process"]))
    return not alive(process) or holder.get("began") != _began(process)


def _began(process: int) -> str | None:
    """When the process began, in the kernel's ticks since boot with the boot's name, or None where that cannot be known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        return None
