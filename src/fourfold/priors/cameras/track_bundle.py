"""Robust bundle adjustment of tracks: Levenberg-Marquardt over poses, lenses, directions and inverse distances.

What moves by itself is outvoted: an observation and a whole track count less the worse they fit, by a scale that follows the median track.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourfold.priors.cameras.bundle_system import Array, Sightings, Solved, follow, reduce, residuals, solve_positive, tangents


@dataclass(frozen=True)
class BundleNumbers:
    """Numbers of the adjustment; pixels are those of an image whose longer side has 640.

    Attributes:
        iterations: at most this many steps.
        scale: smallest residual, pixels, at which an observation counts half.
        track_scale: residual of a whole track at which it counts half, in units of that.
        lenient, stricter: the scale begins so many times larger, and comes nearer to its value by this factor with every step.
        pull: pixels squared; how strongly inverse distances stay near their start, relative to it: it fixes the scale and what has no parallax.
        tolerance: share by which a step must lower the cost; the second in a row that does not ends the adjustment.
        damping: of the first step.
        worst_damping: where no step with less than this lowers the cost, the adjustment ends.
        farthest: smallest inverse distance.
        stride: largest change of an inverse distance and of the logarithm of a focal length in one step.
    """

    iterations: int = 60
    scale: float = 1.0
    track_scale: float = 2.0
    lenient: float = 1.0
    stricter: float = 0.9
    pull: float = 0.05
    tolerance: float = 2e-5
    damping: float = 1e-2
    worst_damping: float = 1e6
    farthest: float = 1e-3
    stride: tuple[float, float] = (0.5, 0.1)


@dataclass(frozen=True)
class Freedom:
    """What may change.

    Attributes:
        travel: translations and inverse distances; without, the cameras only turn.
        turn: rotations.
        focal: focal lengths.
        bend: radial distortions.
        expected: (focal length in pixels, standard deviation of its logarithm) where the file tells it.
        frames: (F,) frames that may move, or None for all but the first.
    """

    travel: bool = True
    turn: bool = True
    focal: bool = True
    bend: bool = False
    expected: tuple[float, float] | None = None
    frames: NDArray[np.bool_] | None = None

    def fixed(self, seen: Sightings) -> NDArray[np.bool_]:
        """(6 F + 2 C,) which unknowns stay."""
        poses = np.zeros((seen.frames, 6), bool)
        poses[:, :3], poses[:, 3:] = not self.turn, not self.travel
        poses[np.arange(seen.frames) == 0 if self.frames is None else ~self.frames] = True
        lenses = np.zeros((len(seen.centre), 2), bool)
        lenses[:, 0], lenses[:, 1] = not self.focal, not self.bend
        return np.concatenate([poses.ravel(), lenses.ravel()])


@dataclass(frozen=True)
class Bundled:
    """Where the adjustment ended: the solution, its mean robust cost, and the number of steps."""

    solved: Solved
    cost: float
    steps: int


@dataclass(frozen=True)
class _Trust:
    """How much everything counts: scale in pixels, track (N,) weights."""

    scale: float
    track: Array

    def cost(self, seen: Sightings, squared: Array) -> float:
        """The sum of the robust losses whose half slopes are `weight`."""
        return float((self.track[seen.track] * np.log1p(squared / self.scale**2)).sum()) * self.scale**2

    def weight(self, seen: Sightings, squared: Array) -> Array:
        """(M,) of the observations."""
        return self.track[seen.track] / (1 + squared / self.scale**2)


def bundle(seen: Sightings, start: Solved, freedom: Freedom = Freedom(), numbers: BundleNumbers = BundleNumbers()) -> Bundled:
    """Adjust everything that is free from `start` on; never ends at a higher robust cost than a step before, for equal trust.
    Without tracks everything stays where it is."""
    if not seen.tracks:
        return Bundled(start, 0.0, 0)
    at, damping, poor, steps = start, numbers.damping, 0, 0
    fixed = freedom.fixed(seen)
    squared = _squared(seen, at)
    for steps in range(1, numbers.iterations + 1):
        trust = _trust(seen, squared, numbers, 1 + (numbers.lenient - 1) * numbers.stricter ** (steps - 1))
        before = trust.cost(seen, squared) + _pulled(at, start, freedom, numbers)
        found = _improve(seen, at, start, (trust, squared, before, damping), (fixed, freedom, numbers))
        if found is None:
            break
        at, squared, after, damping = found
        poor = poor + 1 if before - after < numbers.tolerance * before else 0
        if poor == 2:
            break
    return Bundled(at, float(np.log1p(squared / numbers.scale**2).mean()) if len(squared) else 0.0, steps)


def trust_weights(seen: Sightings, at: Solved, numbers: BundleNumbers = BundleNumbers()) -> Array:
    """(M,) how much each observation counts at a solution."""
    squared = _squared(seen, at)
    return _trust(seen, squared, numbers, 1.0).weight(seen, squared)


def track_errors(seen: Sightings, squared: Array) -> Array:
    """(N,) root mean square residual of each track from squared residuals (M,)."""
    return np.sqrt(np.bincount(seen.track, squared, seen.tracks) / np.maximum(seen.lengths, 1))


def _trust(seen: Sightings, squared: Array, numbers: BundleNumbers, lenience: float) -> _Trust:
    worst = track_errors(seen, squared)
    scale = max(numbers.scale, lenience * float(np.median(worst)))
    return _Trust(scale, 1 / (1 + (worst / (numbers.track_scale * scale)) ** 2))


def _improve(
    seen: Sightings,
    at: Solved,
    start: Solved,
    now: tuple[_Trust, Array, float, float],
    rules: tuple[NDArray[np.bool_], Freedom, BundleNumbers],
) -> tuple[Solved, Array, float, float] | None:
    """The first damped step that lowers the cost: where it leads, squared residuals, cost and the next damping; None if there is none."""
    (trust, squared, before, damping), (fixed, freedom, numbers) = now, rules
    weight = trust.weight(seen, squared)
    relative = numbers.pull / start.inverse**2
    pull = np.stack([relative * (at.inverse - start.inverse), relative], axis=1)
    while damping < numbers.worst_damping:
        system = reduce(seen, at, weight, pull, damping)
        if freedom.expected is not None:
            _expect(system.matrix, system.side, at, freedom.expected)
        system = system.held(fixed)
        step = solve_positive(system.matrix, system.side)
        if step is not None:
            tracks = follow(seen, at, weight, pull, damping, step)
            moved = _moved(at, step, tracks if freedom.travel else tracks * [1, 1, 0], numbers)
            new = _squared(seen, moved)
            after = trust.cost(seen, new) + _pulled(moved, start, freedom, numbers)
            if after < before:
                return moved, new, after, max(damping / 3, 1e-7)
        damping *= 4
    return None


def _squared(seen: Sightings, at: Solved) -> Array:
    r = residuals(seen, at)
    return r[:, 0] ** 2 + r[:, 1] ** 2


def _pulled(at: Solved, start: Solved, freedom: Freedom, numbers: BundleNumbers) -> float:
    """What the pulls cost, in pixels squared."""
    cost = numbers.pull * float((((at.inverse - start.inverse) / start.inverse) ** 2).sum())
    if freedom.expected is not None:
        focal, deviation = freedom.expected
        cost += float(((np.log(at.focal / focal) / deviation) ** 2).sum())
    return cost


def _expect(matrix: Array, side: Array, at: Solved, expected: tuple[float, float]) -> None:
    """Add to the equations what the file says about the focal lengths."""
    focal, deviation = expected
    rows = len(side) - 2 * len(at.focal) + 2 * np.arange(len(at.focal))
    matrix[rows, rows] += 1 / deviation**2
    side[rows] -= np.log(at.focal / focal) / deviation**2


def _moved(at: Solved, step: Array, tracks: Array, numbers: BundleNumbers) -> Solved:
    count, (stride, focal_stride) = len(at.rotation), numbers.stride
    poses, lens = step[: 6 * count].reshape(count, 6), step[6 * count :].reshape(-1, 2)
    direction = at.direction + np.einsum("nk,nki->ni", tracks[:, :2], tangents(at.direction))
    return replace(
        at,
        rotation=Rotation.from_rotvec(poses[:, :3]).as_matrix() @ at.rotation,
        translation=at.translation + poses[:, 3:],
        direction=direction / np.linalg.norm(direction, axis=1, keepdims=True),
        inverse=np.maximum(at.inverse + np.clip(tracks[:, 2], -stride, stride), numbers.farthest),
        focal=at.focal * np.exp(np.clip(lens[:, 0], -focal_stride, focal_stride)),
        bend=at.bend + lens[:, 1],
    )
