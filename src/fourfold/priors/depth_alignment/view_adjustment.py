"""Which of a moving camera's poses, focal length and depth scales the static tracks correct, and by how much (spec mosca.md section 4)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourfold.priors.depth_alignment.joint_adjustment import AdjustmentNumbers, Free, Problem, State, adjust, residuals
from fourfold.priors.depth_alignment.scale_start import StartNumbers, camera_points, start_scales
from fourfold.priors.movers.body_bundle import sum_by

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ViewNumbers:
    """How one camera is adjusted.

    Attributes:
        start, adjustment: of the parts.
        far, far_fade: depths, in medians, beyond which a slot counts less, and how fast (spec section 4: 2 and 1).
        spread, spread_fade: the same for the spread of a track's unprojected points (spec: 0.2 and 0.2).
        stray: tracks are left out whose reprojection error exceeds this many medians of all tracks, and a pixel.
        rounds: of leaving out tracks.
        worth: share by which a correction must lower the cost; what gains less fits noise, and what was given stays.
        negligible: reprojection error, pixels, that is not worth a correction however large its share.
    """

    start: StartNumbers = StartNumbers()
    adjustment: AdjustmentNumbers = field(default_factory=AdjustmentNumbers)
    far: float = 2.0
    far_fade: float = 1.0
    spread: float = 0.2
    spread_fade: float = 0.2
    stray: float = 3.0
    rounds: int = 2
    worth: float = 0.1
    negligible: float = 1e-3


@dataclass(frozen=True)
class Adjusted:
    """The corrected state of F images and what tells how good it is: `moved` is one of "nothing", "scales" and "cameras"."""

    state: State
    moved: str
    figures: dict[str, float | int | str]


def adjust_view(problem: Problem, poses: Array, free: Free, numbers: ViewNumbers = ViewNumbers()) -> Adjusted | None:
    """The simplest of three explanations of the tracks that is not clearly worse than the next: all is right as it is, depth scales are
    wrong, cameras are wrong too. None where the camera does not travel.

    Args:
        problem: with the slots' own weights.
        poses: (F, 4, 4) world to camera, as given.
        free: `free.poses` False leaves cameras as they are.
    """
    slots = problem.slots
    scale = start_scales(slots, problem.K, poses, numbers.start)
    if scale is None:
        return None
    given = state_at(problem, poses, np.ones(len(poses)))
    scaled = state_at(problem, poses, scale)
    problem = problem.weighted(slots.weight * depth_weight(scaled, problem, numbers))
    widest = free if free.poses else Free(poses=False)
    for _ in range(numbers.rounds):
        found, _ = adjust(scaled, problem, widest)
        problem = problem.weighted(problem.slots.weight * ~stray_tracks(found, problem, numbers)[slots.point])
    still, cost_still = adjust(given, problem, Free(poses=False, scales=False))
    resized, cost_resized = adjust(scaled, problem, Free(poses=False))
    choice = [("nothing", replace(still, scale=given.scale), cost_still), ("scales", resized, cost_resized)]
    if free.poses:
        freed, cost_freed = adjust(resized, problem, widest)
        choice.append(("cameras", in_place(freed, poses), cost_freed))
    none = numbers.negligible**2 * problem.unit / (2 * problem.numbers.pixel)
    enough = max(min(value for _, _, value in choice) / (1 - numbers.worth), none)
    moved, state, _ = next(c for c in choice if c[2] <= enough)
    figures: dict[str, float | int | str] = {f"cost_{name}": round(value, 6) for name, _, value in choice}
    figures |= {"tracks": int(np.unique(slots.point[problem.slots.weight > 0]).size), "images": len(poses), "moved": moved}
    return Adjusted(state, moved, figures | {"median_px": round(float(np.median(_errors(state, problem))), 4)})


def state_at(problem: Problem, poses: Array, scale: Array) -> State:
    """The state with each point at the median of where its slots' depths, times `scale` (F,), put it."""
    world = _unprojected(problem, poses, scale)
    order = np.argsort(problem.slots.point, kind="stable")
    starts = np.searchsorted(problem.slots.point[order], np.arange(problem.slots.points + 1))
    points = np.stack([np.median(world[order[a:b]], axis=0) for a, b in itertools.pairwise(starts)])
    return State(poses, scale, 1.0, points)


def depth_weight(state: State, problem: Problem, numbers: ViewNumbers) -> Array:
    """(M,) the paper's robust weights: of a slot's depth, and of how far the unprojected slots of its track lie apart."""
    slots, world = problem.slots, _unprojected(problem, state.poses, state.scale)
    depth = state.scale[slots.frame] * slots.depth
    middle = float(np.median(depth))
    count = np.maximum(np.bincount(slots.point, minlength=slots.points), 1)[:, None]
    mean = sum_by(world, slots.point, slots.points) / count
    spread = np.sqrt((sum_by((world - mean[slots.point]) ** 2, slots.point, slots.points) / count).sum(axis=1))
    near = _fading(depth, numbers.far * middle, numbers.far_fade * middle)
    return near * _fading(spread, numbers.spread * middle, numbers.spread_fade * middle)[slots.point]


def stray_tracks(state: State, problem: Problem, numbers: ViewNumbers) -> NDArray[np.bool_]:
    """(P,) tracks that no static point explains."""
    slots = problem.slots
    error = np.linalg.norm(residuals(state, problem)[0], axis=1) / problem.unit
    count = np.maximum(np.bincount(slots.point, minlength=slots.points), 1)
    mean = sum_by(error[:, None], slots.point, slots.points)[:, 0] / count
    used = sum_by(slots.weight[:, None], slots.point, slots.points)[:, 0] > 0
    limit = numbers.stray * float(np.median(mean[used])) if used.any() else 0.0
    return mean > max(limit, problem.numbers.pixel)


def in_place(state: State, poses: Array) -> State:
    """The state moved as a whole (rotation, translation, one size) so that its cameras lie closest to `poses` (F, 4, 4).

    Tracks tell nothing of the world's place and size; what else lies in this world, held-out cameras above all, stays right by this.
    """
    centre, wanted = (_centres(p) for p in (state.poses, poses))
    rotation = Rotation.from_matrix(np.einsum("fji,fjk->fik", poses[:, :3, :3], state.poses[:, :3, :3])).mean().as_matrix()
    turned = (centre - centre.mean(axis=0)) @ rotation.T
    below = float((turned**2).sum())
    size = float((turned * (wanted - wanted.mean(axis=0))).sum()) / below if below > 0 else 1.0
    size = size if size > 0 else 1.0
    shift = wanted.mean(axis=0) - size * rotation @ centre.mean(axis=0)
    moved = state.poses.copy()
    moved[:, :3, :3] = state.poses[:, :3, :3] @ rotation.T
    moved[:, :3, 3] = size * state.poses[:, :3, 3] - moved[:, :3, :3] @ shift
    return State(moved, state.scale * size, state.focal, size * state.points @ rotation.T + shift)


def _unprojected(problem: Problem, poses: Array, scale: Array) -> Array:
    """(M, 3) world points of all slots."""
    frame = problem.slots.frame
    local = camera_points(problem.slots, problem.K) * scale[frame, None]
    return np.einsum("mji,mj->mi", poses[frame, :3, :3], local - poses[frame, :3, 3])


def _fading(value: Array, limit: float, fade: float) -> Array:
    return np.where(value <= limit, 1.0, np.exp(-((value - limit) ** 2) / (2 * max(fade, 1e-12) ** 2)))


def _centres(poses: Array) -> Array:
    return -np.einsum("fji,fj->fi", poses[:, :3, :3], poses[:, :3, 3])


def _errors(state: State, problem: Problem) -> Array:
    """Reprojection errors of the slots that count, pixels."""
    return np.linalg.norm(residuals(state, problem)[0], axis=1)[problem.slots.weight > 0] / problem.unit
