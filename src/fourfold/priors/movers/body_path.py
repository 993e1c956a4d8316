"""The path of a body along the rays of its camera: no less steady than across them.

Where a body is in the image is known to a fraction of a pixel, how far away it is only as well as its apparent size is: limbs that swing make a
walker come and go by a few per cent with every step. Across the rays the same body shows how steadily it really moves; along them it will not move
less so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourfold.priors.movers.mover_models import Mover, MoverModel
from fourfold.priors.movers.object_scale import minimal_motion

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SteadyNumbers:
    """Numbers of the steadying.

    Attributes:
        doubt: relative standard deviation of the depths that is assumed first, and at most; what they show then takes its place.
        least: it does not fall below this.
        rounds: how often both deviations, of depths and of accelerations, are told anew.
        fewest: moments below which nothing is changed.
        parallax: share of what moves a body before the camera, from image to image, that is the camera's own movement; below it the rays do not meet
            at a steady path, which would only be a smoother one.
    """

    doubt: float = 0.05
    least: float = 0.003
    rounds: int = 15
    fewest: int = 5
    parallax: float = 0.5


def steady_factors(mover: Mover, model: MoverModel, scale: float, seconds: Array, numbers: SteadyNumbers = SteadyNumbers()) -> Array:
    """Factors (F,) on a model's distances that bring it to a steady path, 1 where it is not known: it grows by what it is moved away, so that nothing
    changes in the image.

    Args:
        scale: object units to scene units.
        seconds: (F,) moments of the mover's frames.
    """
    factors = np.ones(len(model.centers))
    known = np.flatnonzero(np.isfinite(model.centers[:, 2]) & (model.depth > 0).any(axis=(1, 2)))
    if len(known) < numbers.fewest or (model.centers[known, 2] <= 0).any():
        return factors
    rotation, shift, depth = mover.world_to_camera[known, :3, :3], mover.world_to_camera[known, :3, 3], model.centers[known, 2]
    eyes, rays = (np.einsum("fji,fj->fi", rotation, value) for value in (-shift, model.centers[known] / depth[:, None]))
    resting = minimal_motion(eyes, depth[:, None] * rays)
    if resting.scale <= 0 or resting.quality < numbers.parallax:
        return factors
    factors[known] = steady_depths(seconds[known], eyes, rays, scale * depth, numbers) / (scale * depth)
    return factors


def steady_depths(seconds: Array, eyes: Array, rays: Array, depth: Array, numbers: SteadyNumbers = SteadyNumbers()) -> Array:
    """Depths of a point that accelerates along its rays no more than it does across them.

    The deviation of `depth` and that of the acceleration are not given but told by expectation maximisation: the first by what the smoothed depths
    leave, the second by the accelerations across the rays, of which half are smaller than 1.18 deviations (Rayleigh). The mean of the depths'
    factors is held at 1: the body's size against the world is decided elsewhere, and a body drawn to the camera would hardly accelerate at all.

    Args:
        seconds: (F,) moments, increasing.
        eyes: (F, 3) camera centres; rays: (F, 3) direction of the point from there per unit of depth; depth: (F,), all > 0.

    Returns:
        (F,) depths.
    """
    second = second_differences(seconds)
    unit = (rays / np.linalg.norm(rays, axis=1, keepdims=True))[1:-1]
    along, doubt, found = np.concatenate([second * rays[:, axis] for axis in range(3)]), numbers.doubt, depth
    start = np.concatenate([second @ eyes[:, axis] for axis in range(3)])
    for _ in range(numbers.rounds):
        acceleration = second @ (eyes + found[:, None] * rays)
        across = acceleration - (acceleration * unit).sum(1, keepdims=True) * unit
        usual = max(float(np.median(np.linalg.norm(across, axis=1))) / np.sqrt(2 * np.log(2)), 1e-9 * float(depth.mean()))
        matrix = along.T @ along / usual**2 + np.diag((doubt * depth) ** -2.0)
        inverse = np.linalg.inv(matrix)
        found = inverse @ (1 / (doubt**2 * depth) - along.T @ start / usual**2)
        common = inverse @ (1 / depth)
        found = found + common * (len(depth) - (found / depth).sum()) / (common / depth).sum()
        told = float(np.sqrt((((found / depth - 1) ** 2) + np.diag(inverse) / depth**2).mean()))
        doubt = min(max(told, numbers.least), numbers.doubt)
    return found


def second_differences(seconds: Array) -> Array:
    """(F - 2, F) matrix that makes accelerations at the inner ones of F moments from positions at all of them."""
    before, after = np.diff(seconds)[:-1], np.diff(seconds)[1:]
    rows = np.arange(len(seconds) - 2)
    matrix = np.zeros((len(seconds) - 2, len(seconds)))
    matrix[rows, rows] = 2 / (before * (before + after))
    matrix[rows, rows + 1] = -2 / (before * after)
    matrix[rows, rows + 2] = 2 / (after * (before + after))
    return matrix
