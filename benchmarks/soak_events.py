"""What disturbs a run: signals, damaged files, a full disk, a second process; each says what it did and what was wrong with the answer."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from soak_process import Watched, alive_in_session, leftovers

KINDS = ("kill", "term", "int", "flip", "cut", "full", "second")
PATIENCE = 2.0  # seconds after a signal by which nothing may be left
ROOMY = "600m"


@dataclass(frozen=True)
class Place:
    """Where a run lives: a tmpfs `box` of its own, if one could be mounted, with the run's folder and its temporary files.

    Attributes:
        mounted: whether the box is a tmpfs whose size can be changed.
    """

    box: Path
    mounted: bool

    @property
    def run(self) -> Path:
        return self.box / "run"

    @property
    def temporary(self) -> Path:
        return self.box / "tmp"

    def resize(self, size: str) -> bool:
        """Give the box another size, such as "600m"; False if it holds more."""
        return subprocess.run(["mount", "-o", f"remount,size={size}", str(self.box)], capture_output=True).returncode == 0

    def fill(self) -> None:
        """Leave no byte free; the process may be writing at this moment."""
        for _ in range(100):
            state = os.statvfs(self.box)
            used = max(1, state.f_blocks - state.f_bfree)  # a size of nothing would be no limit at all
            if self.resize(f"{used * state.f_frsize // 1024}k"):
                return
        raise RuntimeError(f"{self.box} grew faster than it could be made small")


@dataclass
class Event:
    """One disturbance.

    Attributes:
        kind: one of `KINDS`; stage: in which it was delivered; detail: the file, or what was sent.
        answer: "went on" or the sentence that was said; seconds: until it had ended after SIGTERM or SIGINT, which a busy machine makes
            longer; faults: what should not have been.
    """

    kind: str
    stage: str
    detail: str = ""
    answer: str = "went on"
    seconds: float | None = None
    faults: list[str] = field(default_factory=list)


def stop(process: Watched, number: int, place: Place, event: Event) -> None:
    """Send a signal; two seconds later nothing of the process may be left (after SIGKILL: no process, its files go with the next start)."""
    sent = time.monotonic()
    process.send(number)
    process.end(60.0)
    took = time.monotonic() - sent
    if process.traceback:
        event.faults.append(f"traceback: {process.traceback}")
    if number != signal.SIGKILL:
        if process.code() not in (128 + number, 0):
            event.faults.append(f"exit code {process.code()} after {signal.Signals(number).name}")
        event.answer, event.seconds = process.sentence.removeprefix("fourfold: ") or "was over already", round(took, 2)
    time.sleep(max(0.0, sent + PATIENCE - time.monotonic()))
    if left := alive_in_session(process.pid):
        event.faults.append(f"processes left: {len(left)}")
    if number != signal.SIGKILL and (stays := leftovers(place.run, place.temporary)):
        event.faults.append(f"files left: {', '.join(sorted(stays))}")


def damage(kind: str, run: Path, random: np.random.Generator) -> tuple[Path, bytes] | None:
    """Flip a bit of ("flip"), cut short or remove ("cut") one of the run's files; returns it with what it held, None where there is no file."""
    files = sorted(p for p in run.rglob("*") if p.is_file() and not p.is_symlink() and p.stat().st_size and not p.name.startswith(".owner"))
    if not files:
        return None
    file = files[random.integers(len(files))]
    before = file.read_bytes()
    if kind == "flip":
        changed = bytearray(before)
        changed[random.integers(len(before))] ^= 1 << int(random.integers(8))
        file.write_bytes(bytes(changed))
    elif random.random() < 0.2:
        file.unlink()
    else:
        file.write_bytes(before[: random.integers(len(before))])
    return file, before


def fill_up(process: Watched, place: Place, event: Event) -> None:
    """Take away all free space until the process ends; it must say so in one sentence and leave nothing behind."""
    place.fill()
    code = process.end()
    if code == 2 and ("no space left" in process.sentence or "on the disk of" in process.sentence):
        event.answer = process.sentence.removeprefix("fourfold: error: ")
    elif code != 0:
        event.faults.append(f"exit code {code}, {process.traceback or process.sentence}")
    if stays := leftovers(place.run, place.temporary):
        event.faults.append(f"files left: {', '.join(sorted(stays))}")
    place.resize(ROOMY)


def second(words: Sequence[str], place: Place, first: Watched, event: Event) -> None:
    """Start the same command again beside the first, which must be told and change nothing."""
    other = Watched(words, place.temporary)
    code = other.end()
    event.detail = other.sentence.removeprefix("fourfold: error: ") or "the first was over"
    if first.code() is None and not (code == 2 and f"process {first.pid} is working on" in other.sentence):
        event.faults.append(f"the second process ended with {code}: {other.traceback or other.sentence}")
