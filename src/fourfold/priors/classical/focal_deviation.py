"""How well the focal length is known: what it would become without each tenth of the tracks (a grouped jackknife, one Newton step each)."""

from __future__ import annotations

import numpy as np

from fourfold.priors.classical.bundle_system import Array, Sightings, Solved, reduce, solve_positive
from fourfold.priors.classical.track_bundle import BundleNumbers, Freedom, trust_weights

GROUPS = 10
"""Errors are alike along a track (it drifts) and among neighbours (a surface, a mover), so that a covariance of single residuals says too little."""


def focal_deviation(seen: Sightings, at: Solved, freedom: Freedom, numbers: BundleNumbers = BundleNumbers()) -> Array:
    """(C,) relative standard deviation of each focal length at a solution; infinite where nothing tells it."""
    weight, group = trust_weights(seen, at, numbers), np.arange(seen.tracks) % GROUPS
    pull = np.stack([np.zeros(seen.tracks), numbers.pull / at.inverse**2], axis=1)
    fixed, steps = freedom.fixed(seen), []
    for leave in range(GROUPS):
        keep = group != leave
        rows = np.repeat(keep, seen.lengths)
        part = Solved(at.rotation, at.translation, at.direction[keep], at.inverse[keep], at.focal, at.bend)
        system = reduce(seen.of(keep), part, weight[rows], pull[keep], 1e-9).held(fixed)
        step = solve_positive(system.matrix, system.side)
        if step is None:
            return np.full(len(at.focal), np.inf)
        steps.append(step[6 * seen.frames :: 2])
    return np.sqrt((GROUPS - 1) * np.var(steps, axis=0))
