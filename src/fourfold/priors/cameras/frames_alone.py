"""Cameras of frames given where tracks lie: each frame is placed by itself, robustly, all of them at once. Time grows as the observations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourfold.priors.cameras.bundle_system import FLOOR, Array, Sightings, Solved, jacobians, residuals
from fourfold.priors.cameras.grown_start import within


@dataclass(frozen=True)
class AloneNumbers:
    """Gauss-Newton steps with weights 1 / (1 + (r / scale)^2); pixels are those of an image whose longer side has 640.

    Attributes:
        steps: how many.
        scale: residual at which an observation counts half, in the end.
        lenient, stricter: the scale begins so many times larger, and comes nearer to its value by this factor with every step.
    """

    steps: int = 25
    scale: float = 1.0
    lenient: float = 10.0
    stricter: float = 0.8


def frames_alone(seen: Sightings, at: Solved, free: NDArray[np.bool_], travels: bool, numbers: AloneNumbers = AloneNumbers()) -> Solved:
    """The cameras of the frames that are `free` (F,), moved to where the tracks of `at` are seen; without `travels` they only turn."""
    part, kept = within(seen, free, 1)
    own = replace(at, direction=at.direction[kept], inverse=at.inverse[kept])
    unknowns = 6 if travels else 3
    for step in range(numbers.steps):
        scale = numbers.scale * max(1.0, numbers.lenient * numbers.stricter**step)
        r, by_frame = residuals(part, own), jacobians(part, own)[0][..., :unknowns]
        weight = 1 / (1 + (r**2).sum(axis=1) / scale**2)
        squares = np.einsum("m,mki,mkj->mij", weight, by_frame, by_frame).reshape(len(r), -1)
        matrix = _by_frame(squares, part).reshape(-1, unknowns, unknowns) + FLOOR * np.eye(unknowns)
        side = _by_frame(np.einsum("m,mki,mk->mi", weight, by_frame, r), part)
        moved = -np.linalg.solve(matrix, side[..., None])[..., 0]
        rotation = Rotation.from_rotvec(moved[:, :3]).as_matrix() @ own.rotation
        own = replace(own, rotation=rotation, translation=own.translation + moved[:, 3:] if travels else own.translation)
    return replace(at, rotation=own.rotation, translation=own.translation)


def _by_frame(values: Array, seen: Sightings) -> Array:
    """(F, n) sums of (M, n) values over the observations of each frame."""
    return np.stack([np.bincount(seen.frame, column, seen.frames) for column in values.T], axis=1)
