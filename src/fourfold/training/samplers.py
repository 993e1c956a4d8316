"""Which images make the batch of a step. A sampler depends on its arguments alone, so a resumed run draws the same batches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture


def generator(seed: int, stage: int, step: int, purpose: int = 0) -> np.random.Generator:
    """The random generator of one step of one stage; `purpose` separates independent uses of the same step."""
    return np.random.default_rng((seed, stage, step, purpose))


@dataclass(frozen=True)
class Epochs:
    """Random permutations of all training images, `batch` at a time, without replacement within an epoch.

    The permutation is derived from (seed, stage, epoch) only: the first two words of the given generator's entropy and `step`.
    """

    batch: int = 1

    def __call__(self, capture: Capture, step: int, random: np.random.Generator) -> list[tuple[int, int]]:
        """(view, time index) of each image of the batch of `step`."""
        seed, stage = _entropy(random)
        times, views = np.nonzero(capture.train.T)
        picks = range(step * self.batch, (step + 1) * self.batch)
        places = [_order(seed, stage, pick // len(times), len(times))[pick % len(times)] for pick in picks]
        return [(int(views[place]), int(times[place])) for place in places]


@lru_cache(maxsize=4)
def _order(seed: int, stage: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The permutation of an epoch, which every step of it asks for."""
    return np.random.default_rng((seed, stage, epoch, 7)).permutation(count)


@dataclass(frozen=True)
class RandomImages:
    """`batch` training images drawn uniformly with replacement: the released Shape of Motion draws this way (spec section 9)."""

    batch: int = 8

    def __call__(self, capture: Capture, step: int, random: np.random.Generator) -> list[tuple[int, int]]:
        """(view, time index) of each image of the batch of `step`."""
        times, views = np.nonzero(capture.train.T)
        return [(int(views[i]), int(times[i])) for i in random.integers(len(times), size=self.batch)]


def _entropy(random: np.random.Generator) -> tuple[int, int]:
    words: Any = getattr(random.bit_generator.seed_seq, "entropy", 0)
    if isinstance(words, tuple | list) and len(words) >= 2:
        return int(words[0]), int(words[1])
    return int(words) if isinstance(words, int) else 0, 0
