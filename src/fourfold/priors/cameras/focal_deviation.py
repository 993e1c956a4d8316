"""How well the focal length is known: what it would become without each part of the image (a grouped jackknife, one Newton step each)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fourfold.priors.cameras.bundle_system import Array, Sightings, Solved, reduce, solve_positive
from fourfold.priors.cameras.track_bundle import BundleNumbers, Freedom, trust_weights

PARTS = (4, 3)
"""Parts across and down. Errors are alike along a track (it drifts) and among neighbours (a surface, a mover, how this lens bends there), so that a
covariance of single residuals says too little, and so do tracks left out at random: a duck on a street would have +- 1 px, while the upper half of
its images says 507 and the lower 470."""


def focal_deviation(seen: Sightings, at: Solved, freedom: Freedom, numbers: BundleNumbers = BundleNumbers()) -> Array:
    """(C,) relative standard deviation of each focal length at a solution; infinite where nothing tells it."""
    weight, part = trust_weights(seen, at, numbers), _part(seen)
    pull = np.stack([np.zeros(seen.tracks), numbers.pull / at.inverse**2], axis=1)
    fixed, steps, parts = freedom.fixed(seen), [], np.unique(part)
    if len(parts) < 2:
        return np.full(len(at.focal), np.inf)
    for leave in parts:
        keep = part != leave
        rows = np.repeat(keep, seen.lengths)
        rest = Solved(at.rotation, at.translation, at.direction[keep], at.inverse[keep], at.focal, at.bend)
        system = reduce(seen.of(keep), rest, weight[rows], pull[keep], 1e-9).held(fixed)
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
