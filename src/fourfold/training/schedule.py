"""How many steps a stage takes, which rate and which resolution hold at a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from functools import lru_cache
from time import perf_counter
from typing import NamedTuple

from fourfold.capture.capture import Capture
from fourfold.recipes.recipe import Quality, Rate, Stage

MINIMUM_STEPS = 10
"""A stage is never shortened below this by a time budget."""


class Length(NamedTuple):
    """How long a capture is: its training images, and whether one camera alone filmed them."""

    images: int
    alone: bool

    @staticmethod
    def of(capture: Capture) -> Length:
        """That of `capture`."""
        return Length(int(capture.train.sum()), int(capture.train.any(axis=1).sum()) == 1)


def planned_steps(stage: Stage, quality: Quality, length: Length) -> int:
    """Steps of `stage` for a capture of this `length` at `quality`."""
    steps = max(stage.steps, stage.per_frame * length.images)
    most = stage.most_alone if length.alone and stage.most_alone else stage.most
    return max(1, round((min(steps, most) if most else steps) * quality.steps))


def rate_at(rate: Rate, progress: float, extent: float, pixel: float = 1.0) -> float:
    """The learning rate at `progress` (0..1) through the stage; `extent` of the scene and size of a `pixel` at the layer, scene units."""
    done = min(progress / rate.until, 1.0) if rate.until > 0 else 1.0
    return rate.start * math.exp(math.log(rate.final) * done) * (extent if rate.per_extent else 1.0) * (pixel if rate.per_pixel else 1.0)


def rate_of(rates: Mapping[str, Rate], key: str) -> Rate | None:
    """The rate of the first pattern that matches "layer.parameter", or None: frozen."""
    pattern = _first_match(tuple(rates), key)
    return None if pattern is None else rates[pattern]


@lru_cache(maxsize=4096)
def _first_match(patterns: tuple[str, ...], key: str) -> str | None:
    return next((pattern for pattern in patterns if fnmatch(key, pattern)), None)


def divisor_at(stage: Stage, progress: float) -> int:
    """By how much the images are reduced at `progress` (0..1) through the stage."""
    return [divisor for begin, divisor in stage.resolution if progress >= begin][-1]


def steps_within(seconds: float, planned: int, later: int, trial: Callable[[int], None], trials: int = 6) -> int:
    """How many of `planned` steps fit if `seconds` are left for them and for `later` steps of the following stages.

    `trial(i)` does one throw-away step; the first is not timed. Later stages are taken to cost as much per step. Never more than planned.
    """
    trial(0)
    started = perf_counter()
    for i in range(1, trials):
        trial(i)
    per_step = (perf_counter() - started) / (trials - 1)
    share = seconds / max(per_step * (planned + later), 1e-9)
    return min(planned, max(MINIMUM_STEPS, int(planned * share)))
