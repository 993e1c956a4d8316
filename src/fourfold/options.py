"""What a reconstruction is asked for, and the clock that runs along."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fourfold.capture.source import CaptureOptions, Synchronise
from fourfold.errors import FourfoldError
from fourfold.recipes.recipe import QualityName
from fourfold.spent import Spent
from fourfold.training.loop import StepReport

Report = Callable[..., None]
"""Called as `report(stage, done, total, note="")`, total None where it is not known: tells how far a job is."""


def follow(report: Report, what: str = "training") -> Callable[[StepReport], None]:
    """A training progress callback that tells `report` of `what` the stage, the step and the loss."""

    def told(step: StepReport) -> None:
        loss = sum(value for value in step.losses.values() if value == value)
        report(f"{what}: {step.stage}", step.step + 1, step.steps, f"loss {loss:.4f}, {sum(step.counts.values()):,} Gaussians")

    return told


def silent(stage: str, done: int, total: int | None, note: str = "") -> None:
    """A `Report` that says nothing."""


@dataclass(frozen=True)
class Options:
    """How to reconstruct.

    Attributes:
        recipe: a recipe's name, or "auto" to choose by what the capture is.
        quality: how much work to do.
        time_budget: seconds for the whole job, or None for the quality's own length.
        holdout: which images measure the result and are never trained on: "every:8", "cameras:NAME,...", "none", or None for the
            data set's own protocol or, without one, one camera of four or more calibrated ones and else every eighth frame.
        seed: of everything random.
        device: "auto", "cpu" or "cuda".
        baselines: also train a static scene for comparison; copies of the nearest filmed frame are compared with in any case.
        priors: folder with supplied priors in a public layout, or None.
        synchronise: how to find when several videos began: "auto", "audio", "motion", or "none" if they began together.
        offsets: seconds by which each of several videos began after the first one, separated by commas, or None.
        start: seconds after the first moment from which frames are taken.
        end: seconds after the first moment before which frames are taken, None for all.
        every: every how many frames one is taken.
        fps: frames per second: the rate of a folder of images, and how many of a film's are taken; None for the own rate.
        max_frames: at most so many frames of each camera are taken, evenly.
        shot: number, from 1, of the shot of a film that cuts, or None for the longest.
        export: formats, separated by commas, in which the scene is also written, into `exports/` of the run; None for no other than its own.
    """

    recipe: str = "auto"
    quality: QualityName = "normal"
    time_budget: float | None = None
    holdout: str | None = None
    seed: int = 0
    device: str = "auto"
    baselines: bool = True
    priors: str | None = None
    synchronise: Synchronise = "auto"
    offsets: str | None = None
    start: float = 0.0
    end: float | None = None
    every: int = 1
    fps: float | None = None
    max_frames: int | None = None
    shot: int | None = None
    export: str | None = None

    def __post_init__(self) -> None:
        if self.priors is not None:
            object.__setattr__(self, "priors", str(self.priors))
        offsets: Any = self.offsets
        if offsets is not None and not isinstance(offsets, str):
            object.__setattr__(self, "offsets", ",".join(f"{float(o):g}" for o in offsets))
        check_seed(self.seed)
        for name in ("time_budget", "start", "end", "fps"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise FourfoldError(f"{name} got {value!r}: expected a number of {'frames per second' if name == 'fps' else 'seconds'}")

    @property
    def exports(self) -> tuple[str, ...]:
        """The names of the formats asked for."""
        return tuple(word.strip() for word in (self.export or "").split(",") if word.strip())

    def capture_options(self, sources: Sequence[Path]) -> CaptureOptions:
        """Which part of the sources to take, and what to do about several clocks. FourfoldError if a number is none or out of range."""
        several = len(sources) > 1 or any(source.is_dir() for source in sources)
        part = CaptureOptions(fps=self.fps, start=self.start, end=self.end, every=self.every, max_frames=self.max_frames, shot=self.shot)
        if not several:
            if self.offsets is not None:
                raise FourfoldError("--offsets tells when several videos began: there is only one")
            return part
        try:
            seconds = tuple(float(word) for word in (self.offsets or "").split(",") if word.strip())
        except ValueError as error:
            raise FourfoldError(f"--offsets got {self.offsets!r}: expected seconds separated by commas, for example 0,0.35") from error
        return replace(part, offsets=seconds, synchronise=self.synchronise)


def check_seed(seed: int) -> None:
    """FourfoldError if `seed` is no seed."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise FourfoldError(f"seed got {seed!r}: expected a whole number of 0 or more")


def options_of(options: Options | None, settings: Mapping[str, Any]) -> Options:
    """Options given as one object or as keywords. FourfoldError if both are given or a keyword is none of theirs."""
    if options is not None:
        if settings:
            raise FourfoldError(f"got options and also {', '.join(settings)}: give one object or keywords, not both")
        return options
    known = [item.name for item in fields(Options)]
    for name in settings:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"choose among {', '.join(known)}"
            raise FourfoldError(f"there is no option {name!r}: {hint}")
    return Options(**settings)


def command_line(sources: Sequence[Path], out: Path, options: Options) -> str:
    """The command that makes the same run again, with every option that is not the default."""
    words = ["fourfold", "reconstruct", *map(str, sources), "-o", str(out)]
    for item in fields(options):
        value, flag = getattr(options, item.name), "--" + item.name.replace("_", "-")
        if value == item.default:
            continue
        words += ["--no-" + flag[2:]] if value is False else [flag, f"{value:g}s" if item.name == "time_budget" else str(value)]
    return shlex.join(words)


@dataclass
class Clock:
    """Seconds per stage since the start, and those of processors."""

    started: float = field(default_factory=time.perf_counter)
    stages: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)

    def lap(self, name: str, since: Spent) -> None:
        """Add what was spent since `since` to stage `name`."""
        self.add(name, since.until_now())

    def add(self, name: str, spent: Spent) -> None:
        """Add what was `spent` to stage `name`."""
        self.stages[name] = self.stages.get(name, 0.0) + spent.wall
        self.cpu[name] = self.cpu.get(name, 0.0) + spent.cpu

    def add_priors(self, spent: Mapping[str, Spent]) -> None:
        """Add what the priors took, by name."""
        for name, one in spent.items():
            self.add(f"priors: {name}", one)

    @property
    def total(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started
