"""Fallbacks: every time a better way was not available, said once per job and kept for its report."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class Notices:
    """The sentences of one job, in order."""

    sentences: list[str] = field(default_factory=list)


_outside = Notices()  # of what runs in no job
_jobs: list[Notices] = []
_current: ContextVar[Notices | None] = ContextVar("notices", default=None)


@contextmanager
def job() -> Iterator[Notices]:
    """A job whose fallbacks are kept apart from those of other jobs in the process, also of ones that run at the same time in other threads."""
    mine = Notices()
    token = _current.set(mine)
    _jobs.append(mine)
    try:
        yield mine
    finally:
        _jobs[:] = [one for one in _jobs if one is not mine]
        _current.reset(token)


def fallback(sentence: str) -> None:
    """Print `sentence` once per job on stderr and remember it for `report.json`."""
    said = _here().sentences
    if sentence not in said:
        said.append(sentence)
        print(f"note: {sentence}", file=sys.stderr)


def fallbacks() -> list[str]:
    """All fallback sentences of this job so far, in order."""
    return list(_here().sentences)


def _here() -> Notices:
    """The job of this thread; a helper thread, which knows of none, belongs to the only one there is."""
    mine = _current.get()
    return mine if mine is not None else _jobs[0] if len(_jobs) == 1 else _outside
