"""Progress on stderr: a live bar with the time left on a terminal, an occasional line elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SECONDS_BETWEEN_LINES = 10.0  # in a log file; raise it where logs are kept for long


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
        self.started: dict[str, float] = {}
        self.last = -math.inf

    def __call__(self, stage: str, done: int, total: int | None, note: str = "") -> None:
        now = time.monotonic()
        started = self.started.setdefault(stage, now)
        new, complete = started == now, total is not None and done >= total
        if not (new or complete or now - self.last >= SECONDS_BETWEEN_LINES):
            return
        self.last = now
        left = f", {(now - started) / done * (total - done):.0f} s left" if total is not None and 0 < done < total else ""
        how_far = "" if total is None and done == 0 else f": {done}{'' if total is None else f'/{total}'} in {now - started:.0f} s{left}"
        print(f"{stage}{how_far}{' ' + note if note else ''}", file=sys.stderr)
