"""Frames that a robust adjustment gave up: few against the rest, they are outvoted like something that moves, the first one above all, which is
kept in place while all others would have to move together. They are placed anew by the tracks that the others hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fourfold.priors.cameras.bundle_system import Sightings, Solved, residuals
from fourfold.priors.cameras.grown_start import GrowthNumbers, resected
from fourfold.priors.cameras.track_places import placed

NEAR = 3.0
"""Pixels at 640 within which an observation counts as held."""
WEAK = 0.5
"""Share of the median frame's share of held observations below which a frame was given up."""


def weak_frames(seen: Sightings, at: Solved) -> NDArray[np.bool_]:
    """(F,) which frames hold far fewer of their observations than the others do."""
    held = np.bincount(seen.frame, np.linalg.norm(residuals(seen, at), axis=1) < NEAR, seen.frames)
    count = np.bincount(seen.frame, minlength=seen.frames)
    share = held / np.maximum(count, 1)
    return (count > 0) & (share < WEAK * float(np.median(share[count > 0])))


def mended(seen: Sightings, at: Solved, numbers: GrowthNumbers = GrowthNumbers()) -> tuple[Solved, NDArray[np.bool_]]:
    """The solution with its weak frames placed anew from where their neighbours are, and (F,) which frames may move from there on: all but the
    middle one of those that hold."""
    weak = weak_frames(seen, at)
    known = np.flatnonzero(~weak)
    free = np.arange(seen.frames) != known[len(known) // 2]
    if not weak.any():
        return at, free
    nearest = known[np.abs(np.arange(seen.frames)[:, None] - known).argmin(axis=1)]
    start = replace(at, rotation=at.rotation[nearest], translation=at.translation[nearest])
    return placed(seen, resected(seen, start, ~weak, np.ones(seen.frames, bool), numbers)), free
