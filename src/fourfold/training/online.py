"""Samplers for training that walks through time: Dynamic 3D Gaussians (spec baselines.md 4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.training.samplers import Epochs


@dataclass(frozen=True)
class FirstMoment:
    """Images of the first recorded moment, all cameras in turn."""

    batch: int = 1

    def __call__(self, capture: Capture, step: int, random: np.random.Generator) -> list[tuple[int, int]]:
        """(view, time index) of each image of the batch of `step`."""
        return _at(capture, 0, self.batch, random)


@dataclass(frozen=True)
class Forward:
    """The recorded moments after the first, one after another, each for an equal part of the stage's steps."""

    batch: int = 1

    def __call__(self, capture: Capture, step: int, random: np.random.Generator) -> list[tuple[int, int]]:
        """Images of any moment: where the number of steps is not known, time cannot be walked through."""
        return Epochs(self.batch)(capture, step, random)

    def within(self, capture: Capture, step: int, steps: int, random: np.random.Generator) -> list[tuple[int, int]]:
        """(view, time index) of each image of the batch of `step` of `steps`."""
        moments = int(capture.train.any(axis=0).sum())
        return _at(capture, min(1 + step * max(moments - 1, 1) // steps, moments - 1), self.batch, random)


def _at(capture: Capture, number: int, batch: int, random: np.random.Generator) -> list[tuple[int, int]]:
    index = int(np.flatnonzero(capture.train.any(axis=0))[number])
    views = np.flatnonzero(capture.train[:, index])
    return [(int(v), index) for v in random.choice(views, size=min(batch, len(views)), replace=False)]
