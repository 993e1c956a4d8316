"""One try at one job, in a process of its own: what a worker does, on this machine or on another."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from fourfold.fleet.manifest import Job
from fourfold.interruption import CHILD, run_child
from fourfold.owner import release_from_another_machine, wait_until_free

FAREWELL = 20.0  # seconds within which what a lost worker of this machine had started is no more
MISTAKE = 2  # the exit code of a mistake in the input: another try would end the same way


@dataclass(frozen=True)
class Outcome:
    """What became of a try.

    Attributes:
        good: the run is complete.
        final: another try would end the same way.
        sentence: what went wrong, empty if nothing did.
        seconds: of this try.
        figures: held-out figures of the finished run.
    """

    good: bool
    final: bool
    sentence: str
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)


def attempt(job: Job, again: bool = False) -> Outcome:
    """Reconstruct `job`, continuing what an earlier try left.

    Args:
        again: whether an earlier try on another machine was lost: its lock on the run is taken over.
    """
    started = time.monotonic()
    if again:
        release_from_another_machine(job.out)
        wait_until_free(job.out, FAREWELL)
    done = run_child([sys.executable, "-c", CHILD, *job.words, "--json"], os.environ)
    seconds = round(time.monotonic() - started, 1)
    if done.returncode == 0:
        return Outcome(True, True, "", seconds, _figures(done.stdout))
    last = next((line for line in reversed(done.stderr.splitlines()) if line.startswith("fourfold: ")), "")
    sentence = last.removeprefix("fourfold: ").removeprefix("error: ") or f"the process ended with code {done.returncode}"
    return Outcome(False, done.returncode == MISTAKE, sentence, seconds)


def _figures(text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text)["metrics"]["heldout"])
    except (ValueError, KeyError, TypeError):
        return {}
