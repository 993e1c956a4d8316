"""Progress on stderr: a live bar with the time left on a terminal, an occasional line elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SECONDS_BETWEEN_LINES = 10.0  # in a log file; raise it where logs are kept for long
PACE_OVER = 30.0  # seconds over which the pace of a stage is taken, as bars on a terminal do; steps may grow slower within a stage
TOLD_AFTER = 3.0  # seconds of a stage before which no time left is told: its first steps warm up


class Report(Protocol):
    """What long-running code calls to tell how far it is. `total` None means unknown."""

    def __call__(self, stage: str, done: int, total: int | None, note: str = "") -> None: ...


@contextmanager
def progress() -> Iterator[Report]:
    """Yield a `Report`; each stage named in it gets its own bar on a terminal, or lines when stderr is a file or a pipe."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield _Bars(bars)


class _Bars:
    def __init__(self, bars: Progress) -> None:
        self.bars = bars
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int | None, note: str = "") -> None:
        if stage not in self.tasks:
            self.tasks[stage] = self.bars.add_task(stage, total=total, note=note)
        self.bars.update(self.tasks[stage], completed=done, total=total, note=note)


class _Lines:
    """One line at a stage's start and end, and one every `SECONDS_BETWEEN_LINES` between."""

    def __init__(self) -> None:
        self.paces: dict[str, _Pace] = {}
        self.last = -math.inf

    def __call__(self, stage: str, done: int, total: int | None, note: str = "") -> None:
        now = time.monotonic()
        new, complete = stage not in self.paces, total is not None and done >= total
        pace = self.paces.setdefault(stage, _Pace(now))
        pace.at(now, done)
        if not (new or complete or now - self.last >= SECONDS_BETWEEN_LINES):
            return
        self.last = now
        left = pace.left(total - done) if total is not None and not complete else None
        how_far = "" if total is None and done == 0 else f": {done}{'' if total is None else f'/{total}'} in {now - pace.started:.0f} s"
        print(f"{stage}{how_far}{'' if left is None else f', {left:.0f} s left'}{' ' + note if note else ''}", file=sys.stderr)


class _Pace:
    """How fast a stage goes lately: what was done before it was first told of, such as by a run that was killed, took no time of this one."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.seen: deque[tuple[float, int]] = deque()

    def at(self, now: float, done: int) -> None:
        """At `now`, seconds, `done` units were done."""
        if self.seen and done < self.seen[-1][1]:  # the stage begins once more, for another part of the work
            self.seen.clear()
            self.started = now
        self.seen.append((now, done))
        while len(self.seen) > 2 and now - self.seen[1][0] >= PACE_OVER:
            self.seen.popleft()

    def left(self, units: int) -> float | None:
        """Seconds that so many more units take, None while too little was seen to tell."""
        (begin, first), (end, last) = self.seen[0], self.seen[-1]
        if end - begin < TOLD_AFTER or last <= first:
            return None
        return (end - begin) / (last - first) * units
