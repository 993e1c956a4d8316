"""How well the focal length is known: what it would become without each part of the image or of the film (grouped jackknives, a Newton step each)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fourfold.priors.cameras.bundle_system import Array, Sightings, Solved, reduce, solve_positive
from fourfold.priors.cameras.track_bundle import BundleNumbers, Freedom, trust_weights

PARTS = (4, 3)
"""Parts across and down. Errors are alike along a track (it drifts) and among neighbours (a surface, a mover, how this lens bends there), so that a
covariance of single residuals says too little, and so do tracks left out at random: a duck on a street would have +- 1 px, while the upper half of
its images says 507 and the lower 470."""


TIMES = 5
"""Parts of the film: where the scene itself stretches, one part of it says another lens than the next."""


def focal_deviation(seen: Sightings, at: Solved, freedom: Freedom, numbers: BundleNumbers = BundleNumbers()) -> Array:
    """(C,) relative standard deviation of each focal length at a solution, infinite where nothing tells it: the larger of both jackknives of a camera
    that travelled (one that turns shows each part of a scene for a part of the film)."""
    window = np.linspace(0, TIMES, seen.frames, endpoint=False).astype(np.int64)
    by_place = [(place != leave, np.ones(seen.frames, bool)) for place in [_part(seen)] for leave in np.unique(place)]
    by_time = [(np.ones(seen.tracks, bool), window != leave) for leave in np.unique(window)]
    deviation = _jackknife(seen, at, freedom, numbers, by_place)
    return np.maximum(deviation, _jackknife(seen, at, freedom, numbers, by_time)) if freedom.travel else deviation


def _jackknife(
    seen: Sightings, at: Solved, freedom: Freedom, numbers: BundleNumbers, parts: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]
) -> Array:
    """(C,) deviations from doing with the tracks (N,) and the frames (F,) of each of `parts` alone; frames that are left out stay where they are."""
    if len(parts) < 2:
        return np.full(len(at.focal), np.inf)
    weight, fixed, steps = trust_weights(seen, at, numbers), freedom.fixed(seen), []
    pull = np.stack([np.zeros(seen.tracks), numbers.pull / at.inverse**2], axis=1)
    for tracks, frames in parts:
        seen_there = frames[seen.frame]
        keep = tracks & (np.bincount(seen.track[seen_there], minlength=seen.tracks) >= 2)
        rows = np.repeat(keep, seen.lengths)
        rest = Solved(at.rotation, at.translation, at.direction[keep], at.inverse[keep], at.focal, at.bend)
        still = fixed | np.concatenate([np.repeat(~frames, 6), np.zeros(2 * len(at.focal), bool)])
        system = reduce(seen.of(keep), rest, (weight * seen_there)[rows], pull[keep], 1e-9).held(still)
        step = solve_positive(system.matrix, system.side)
        if step is None:
            return np.full(len(at.focal), np.inf)
        steps.append(step[6 * seen.frames :: 2])
    return np.sqrt((len(parts) - 1) * np.var(steps, axis=0))


def _part(seen: Sightings) -> NDArray[np.int64]:
    """(N,) number of the part of the image in which the middle of each track lies."""
    middle = np.stack([np.bincount(seen.track, seen.xy[:, axis], seen.tracks) / np.maximum(seen.lengths, 1) for axis in (0, 1)], axis=1)
    lens = seen.lens_of[seen.frame[np.minimum(seen.first[:-1], len(seen.frame) - 1)]]
    across, down = (np.clip(middle[:, axis] / (2 * seen.centre[lens, axis]) * PARTS[axis], 0, PARTS[axis] - 1).astype(np.int64) for axis in (0, 1))
    return across * PARTS[1] + down
