"""Stopping on SIGINT and SIGTERM without losing work: what must not be cut is finished, children and temporary folders go.

A signal becomes `Interrupted` in the main thread, where it stands or at the end of what is `unbroken`, and so every `finally` runs. Code
that stays in a native call does not see it; after a grace period a second thread ends the children, removes what is temporary and ends
the process.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

GRACE_SECONDS = 1.5  # between a signal and the end of the process whatever it is doing
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_FOLDER = re.compile(r"fourfold-(\d+)-")


class Interrupted(KeyboardInterrupt):
    """Somebody asked this process to stop by the signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass
class _Process:
    """What a signal has to know of this process: signals belong to the whole of it."""

    unbroken: int = 0
    pending: int | None = None
    children: set[subprocess.Popen[str]] = field(default_factory=set)
    temporary: list[Path] = field(default_factory=list)


_process = _Process()


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Inside, SIGINT and SIGTERM raise `Interrupted`, and end the process by force if that does not within the grace period.

    Outside the main thread, which alone may handle signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    if hasattr(os, "set_blocking"):  # on Windows since Python 3.12; a pipe holds far more signals than anybody sends
        os.set_blocking(writer, False)
    before = {number: signal.signal(number, _on_signal) for number in _SIGNALS}
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    over = threading.Event()
    threading.Thread(target=_watch, args=(reader, over), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        over.set()
        os.close(writer)  # ends the watching thread


def _on_signal(number: int, _: FrameType | None) -> None:
    if _process.unbroken:
        _process.pending = number
    else:
        raise Interrupted(number)


def _watch(reader: int, over: threading.Event) -> None:
    """Waits for a signal's number in the pipe, which the interpreter writes at once whatever the main thread is doing."""
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while number := pipe.read(1):
            if number[0] in _SIGNALS and not over.wait(GRACE_SECONDS):
                _end_by_force(number[0])


def _end_by_force(number: int) -> None:
    for child in list(_process.children):
        with suppress(OSError):
            child.kill()
    for path in reversed(_process.temporary):  # what was made last goes first, and so a run's lock after what is in the run
        _remove(path)
    print("fourfold: interrupted: the same command again continues where it can", file=sys.stderr, flush=True)
    os._exit(128 + number)


@contextmanager
def unbroken() -> Iterator[None]:
    """A signal that comes inside waits for the end of the block."""
    _process.unbroken += 1
    try:
        yield
    finally:
        _process.unbroken -= 1
    if not _process.unbroken and _process.pending is not None:
        number, _process.pending = _process.pending, None
        raise Interrupted(number)


def pending_signal() -> int | None:
    """The signal that waits for the end of what is `unbroken`, or None."""
    return _process.pending


def stop_later(number: int) -> None:
    """Within what is `unbroken`: end at its end as if the signal `number` had come."""
    _process.pending = number


@contextmanager
def temporary(path: Path) -> Iterator[None]:
    """For the time of the block `path`, a file or a folder, is of no use without this process: an end by force removes it."""
    _process.temporary.append(path)
    try:
        yield
    finally:
        _process.temporary.remove(path)


def _remove(path: Path) -> None:
    for _ in range(3):  # the other thread may be putting something into it at this moment
        shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):
            path.unlink()
        if not path.exists():
            return


@contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """A folder for the time of the block, in the system's place for such; its name holds this process, see `sweep`."""
    folder = Path(tempfile.mkdtemp(prefix=f"fourfold-{os.getpid()}-{purpose}-"))
    with temporary(folder):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """Remove the temporary folders of processes of ours that are no more: of those that were killed."""
    for folder in Path(tempfile.gettempdir()).glob("fourfold-*-*"):
        match = _FOLDER.match(folder.name)
        if match and not alive(int(match[1])):
            shutil.rmtree(folder, ignore_errors=True)


WATCHING = "from fourfold.interruption import end_with_parent; end_with_parent(); "
"""How the program of a child begins: it watches before it loads anything that takes time."""

CHILD = WATCHING + "from fourfold.cli import entry; entry()"
"""The program of a child that is a fourfold command itself."""

_PARENT = "FOURFOLD_PARENT"  # in a child's environment: the process that it ends with


def alive(process: int) -> bool:
    """Whether a process of this number runs on this machine."""
    if sys.platform == "win32":
        return _alive_on_windows(process)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OSError):
        return True
    return True


if sys.platform == "win32":

    def _alive_on_windows(process: int) -> bool:
        """The same of Windows, where os.kill with signal 0 would send a Control-C."""
        query_and_wait, access_denied, still_running = 0x1000 | 0x100000, 5, 0x102
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = kernel.OpenProcess(query_and_wait, False, process)
        if not handle:
            return ctypes.get_last_error() == access_denied
        waited = kernel.WaitForSingleObject(ctypes.c_void_p(handle), 0)
        kernel.CloseHandle(ctypes.c_void_p(handle))
        return waited == still_running


def run_child(command: Sequence[str], environment: Mapping[str, str], seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run `command` to its end and return its output; it ends with this process, however that ends.

    The child calls `end_with_parent` first (`WATCHING`). Raises subprocess.TimeoutExpired after `seconds`.
    """
    with child(command, environment) as process:
        out, err = process.communicate(timeout=seconds)
        return subprocess.CompletedProcess(command, process.returncode, out, err)


@contextmanager
def child(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A child that runs `command`, its output in pipes; killed where the block fails, else waited for at its end.

    It has a process group of its own: what a terminal sends to all comes to it from this process alone, if at all.
    """
    pipe, told = subprocess.PIPE, {**environment, _PARENT: str(os.getpid())}
    with subprocess.Popen(command, env=told, stdout=pipe, stderr=pipe, text=True, process_group=0) as process:
        _process.children.add(process)
        try:
            yield process
        except BaseException:
            process.kill()
            raise
        finally:
            _process.children.discard(process)


def end_with_parent() -> None:
    """Called by a child: it ends once its parent is gone, also if that was killed, be it before this call."""
    parent = int(os.environ.get(_PARENT) or os.getppid())

    def watch() -> None:
        pause = threading.Event()
        while os.getppid() == parent and alive(parent):  # Windows goes on telling a parent that is gone
            pause.wait(0.25)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
