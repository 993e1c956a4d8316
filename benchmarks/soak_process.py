"""A fourfold process that is watched while it works: in which stage it is, which processes it has, and what it leaves behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

# The program with few steps and frequent checkpoints; everything else is as a user has it.
PROGRAM = """
import functools, sys
import fourfold.pipeline as pipeline
from fourfold.cli import entry
from fourfold.recipes.recipe import QUALITIES, Quality
QUALITIES["draft"] = Quality(pixels=45_000, steps=0.02, gaussians=0.05)
pipeline.TrainConfig = functools.partial(pipeline.TrainConfig, checkpoint_every=7)
print("soak: begins", file=sys.stderr, flush=True)
entry()
"""
BEGINS = "start"
_STAGES = (
    (re.compile(r"soak: begins"), BEGINS),
    (re.compile(r"reading the images"), "capture"),
    (re.compile(r"estimating (.*) \("), r"prior: \1"),
    (re.compile(r"preparing the training"), "first scene"),
    (re.compile(r"training: ([^:]*):"), r"training: \1"),
    (re.compile(r"scoring held-out frames"), "scores"),
    (re.compile(r"training the static baseline"), "baseline"),
    (re.compile(r"rendering videos"), "renders"),
)
OF_TORCH = "torchinductor_"  # an empty folder that torch makes for all its processes as soon as an optimiser of its own is used
KEPT_FRAMES = ".frames.part"  # finished frames of a stage that was stopped: they serve again and stay


class Watched:
    """A fourfold command in a session of its own, with its temporary files in `temporary`."""

    def __init__(self, words: Sequence[str], temporary: Path) -> None:
        temporary.mkdir(parents=True, exist_ok=True)
        self.lines: list[str] = []
        self.stages: list[tuple[str, float]] = []
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            env=os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The number of the process, which is its session's too."""
        return self._process.pid

    @property
    def stage(self) -> str | None:
        """The stage that it works on, None before it has begun."""
        return self.stages[-1][0] if self.stages else None

    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    def send(self, number: int) -> None:
        """Send the signal `number` to the process alone, as `kill` does."""
        self._process.send_signal(number)

    def end(self, seconds: float = 900.0) -> int:
        """Wait for its end and return its exit code."""
        code = self._process.wait(timeout=seconds)
        self._reader.join(timeout=5.0)
        return code

    @property
    def sentence(self) -> str:
        """The last line that tells why it ended, empty if there is none."""
        return next((line for line in reversed(self.lines) if line.startswith("fourfold: ")), "")

    @property
    def traceback(self) -> str:
        """The last line of a traceback on stderr, empty if there is none."""
        begins = [number for number, line in enumerate(self.lines) if line.startswith("Traceback")]
        return (
            next((line for line in self.lines[begins[-1] :] if re.match(r"\w+(\.\w+)*(:|$)", line) and "Traceback" not in line), "?")
            if begins
            else ""
        )

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(line.rstrip())
            name = stage_of(line)
            if name is not None and name != self.stage:
                self.stages.append((name, time.monotonic()))


def stage_of(line: str) -> str | None:
    """The stage that a line of progress announces, None if it announces none."""
    return next((match.expand(name) for pattern, name in _STAGES if (match := pattern.match(line))), None)


def alive_in_session(session: int) -> list[int]:
    """Processes of the session with this number that run; one that has ended and was not waited for is no more."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, owner = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except (OSError, ValueError):
                continue
            if int(owner) == session and state not in "ZX":
                found.append(int(entry.name))
    return found


def leftovers(run: Path, temporary: Path) -> set[str]:
    """What lies in the folder for temporary files, and unfinished files of the run."""
    unfinished = (p for pattern in (".*.part", ".owner*", ".capture.*") for p in run.rglob(pattern) if not p.name.endswith(KEPT_FRAMES))
    return {str(p) for p in [*temporary.iterdir(), *unfinished] if not p.name.startswith(OF_TORCH)}
