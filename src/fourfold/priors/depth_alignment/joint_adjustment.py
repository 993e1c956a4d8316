"""Bundle adjustment of one moving camera with depth: poses, focal length, a depth scale per image and static points (spec mosca.md section 4).

The paper unprojects each slot of a static track with its depth and warps it to other images, with a correction of the depth of each slot.
Here the slots of a track share one point, which stands for its corrected depths; the residuals are the paper's, between slot and point:
the reprojection |proj(X) - xy| in units of half the short image side, weight 1, and the symmetric relative depth
0.5 |D / z - 1| + 0.5 |z / D - 1| = |sinh(ln z - ln D)|, weight 0.1, D being the scaled depth. Both count absolutely, squared near zero.
Levenberg-Marquardt on reweighted squares with the Schur complement over the points takes the place of 2000 steps of Adam.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourfold.priors.depth_alignment.static_slots import Slots
from fourfold.priors.movers.body_bundle import sum_by

Array = NDArray[np.float64]
CAMERA = 7
"""Unknowns per image: rotation vector and translation in camera axes, logarithm of the depth scale."""


@dataclass(frozen=True)
class AdjustmentNumbers:
    """Numbers of the adjustment.

    Attributes:
        depth: weight of the depth term beside the reprojection (spec section 4: 0.1).
        pixel: reprojection error in pixels below which errors count squared.
        relative: relative depth error below which errors count squared.
        iterations: at most so many accepted or refused steps.
        tolerance: stop when a step lowers the cost by less than this share.
    """

    depth: float = 0.1
    pixel: float = 1.0
    relative: float = 0.02
    iterations: int = 40
    tolerance: float = 1e-4


@dataclass(frozen=True)
class Free:
    """What may move besides the points."""

    poses: bool = True
    scales: bool = True
    focal: bool = False


@dataclass(frozen=True)
class State:
    """poses (F, 4, 4) world to camera, scale (F,) factor on each image's depth, focal factor on all focal lengths, points (P, 3)."""

    poses: Array
    scale: Array
    focal: float
    points: Array


@dataclass(frozen=True)
class Problem:
    """What is adjusted to: slots, K (F, 3, 3) at focal factor 1, unit of a pixel (2 over the short image side), numbers."""

    slots: Slots
    K: Array
    unit: float
    numbers: AdjustmentNumbers = AdjustmentNumbers()

    def intrinsics(self, focal: float) -> Array:
        """(F, 3, 3) with the focal lengths times `focal`."""
        return self.K * np.array([[focal, focal, 1.0], [1.0, focal, 1.0], [1.0, 1.0, 1.0]])

    def weighted(self, weight: Array) -> Problem:
        """The same problem with other weights (M,) of the slots."""
        return replace(self, slots=replace(self.slots, weight=weight))


def residuals(state: State, problem: Problem) -> tuple[Array, Array]:
    """(M, 2) reprojection in short-side units and (M,) signed symmetric relative depth; large where a point is behind the camera."""
    image, relative, _, _ = _project(state, problem)
    return (image - problem.slots.xy) * problem.unit, np.sinh(relative)


def cost(state: State, problem: Problem) -> float:
    """Weighted mean of the robust terms."""
    image, depth = residuals(state, problem)
    numbers, weight = problem.numbers, problem.slots.weight
    terms = _robust(np.linalg.norm(image, axis=1), numbers.pixel * problem.unit)
    terms = terms + numbers.depth * problem.slots.sure * _robust(np.abs(depth), numbers.relative)
    return float((weight * terms).sum() / max(float(weight.sum()), 1e-12))


def jacobian(state: State, problem: Problem) -> tuple[Array, Array]:
    """(M, 3, 8) derivatives of reprojection and depth by the slot's image (see `CAMERA`) and the logarithm of the focal factor, and (M, 3, 3)
    by its point."""
    slots = problem.slots
    _, relative, camera, turned = _project(state, problem)
    K, z = problem.intrinsics(state.focal)[slots.frame], np.maximum(camera[:, 2], 1e-9)
    slope = np.cosh(relative)
    by_camera = np.zeros((len(z), 3, 3))  # of (x, y, depth residual) by the point in camera axes
    by_camera[:, 0, 0], by_camera[:, 0, 1], by_camera[:, 1, 1] = K[:, 0, 0] / z, K[:, 0, 1] / z, K[:, 1, 1] / z
    by_camera[:, 0, 2] = -(K[:, 0, 0] * camera[:, 0] + K[:, 0, 1] * camera[:, 1]) / z**2
    by_camera[:, 1, 2] = -K[:, 1, 1] * camera[:, 1] / z**2
    by_camera[:, :2] *= problem.unit
    by_camera[:, 2, 2] = slope / z
    turn = np.zeros((len(z), 3, 3))
    turn[:, 0, 1], turn[:, 0, 2], turn[:, 1, 2] = turned[:, 2], -turned[:, 1], turned[:, 0]
    turn -= turn.transpose(0, 2, 1).copy()
    by_image = np.zeros((len(z), 3, CAMERA + 1))
    by_image[:, :, :3], by_image[:, :, 3:6] = by_camera @ turn, by_camera
    by_image[:, 2, 6] = -slope
    by_image[:, 0, 7] = problem.unit * (K[:, 0, 0] * camera[:, 0] + K[:, 0, 1] * camera[:, 1]) / z
    by_image[:, 1, 7] = problem.unit * K[:, 1, 1] * camera[:, 1] / z
    return by_image, by_camera @ state.poses[slots.frame, :3, :3]


def adjust(state: State, problem: Problem, free: Free) -> tuple[State, float]:
    """The state at which the cost is smallest near `state`, and its cost. Where everything is free, place and size of the world are left to
    the damping."""
    damping, now = 1e-3, cost(state, problem)
    for _ in range(problem.numbers.iterations):
        step = _step(state, problem, free, damping)
        moved = None if step is None else _moved(state, *step)
        new = np.inf if moved is None else cost(moved, problem)
        if moved is not None and new < now:
            gain = (now - new) / max(now, 1e-300)
            state, now, damping = moved, new, max(damping / 5, 1e-9)
            if gain < problem.numbers.tolerance:
                break
        else:
            damping *= 8
            if damping > 1e8:
                break
    return state, now


def _project(state: State, problem: Problem) -> tuple[Array, Array, Array, Array]:
    """Pixels (M, 2), ln z - ln D (M,), the points in camera axes (M, 3), and the same before the translation."""
    slots = problem.slots
    poses = state.poses[slots.frame]
    turned = np.einsum("mij,mj->mi", poses[:, :3, :3], state.points[slots.point])
    camera = turned + poses[:, :3, 3]
    z = np.maximum(camera[:, 2], 1e-9)
    image = np.einsum("mij,mj->mi", problem.intrinsics(state.focal)[slots.frame], camera)[:, :2] / z[:, None]
    far = 10.0 / problem.unit  # beyond five short sides no error grows, so that points behind a camera do no harm
    image = slots.xy + np.clip(image - slots.xy, -far, far)
    relative = np.clip(np.log(z / (state.scale[slots.frame] * slots.depth)), -3.0, 3.0)
    return image, relative, camera, turned


def _robust(length: Array, small: float) -> Array:
    return np.where(length < small, length**2 / (2 * small), length - small / 2)


def _step(state: State, problem: Problem, free: Free, damping: float) -> tuple[Array, float, Array] | None:
    """(F, 7) of the images, the focal factor's logarithm, (P, 3) of the points; None where the system is singular."""
    slots, numbers = problem.slots, problem.numbers
    frames, count = len(state.poses), len(state.points)
    image, depth = residuals(state, problem)
    residual = np.concatenate([image, depth[:, None]], axis=1)
    weight = np.repeat((slots.weight / np.maximum(np.linalg.norm(image, axis=1), numbers.pixel * problem.unit))[:, None], 3, axis=1)
    weight[:, 2] = slots.weight * numbers.depth * slots.sure / np.maximum(np.abs(depth), numbers.relative)
    by_image, by_point = jacobian(state, problem)
    strong, strong_point = by_image * weight[:, :, None], by_point * weight[:, :, None]
    own = sum_by(np.einsum("mki,mkj->mij", strong, by_image), slots.frame, frames)
    side = sum_by(-np.einsum("mki,mk->mi", strong, residual), slots.frame, frames)
    inverse = np.linalg.inv(_damped(sum_by(np.einsum("mki,mkj->mij", strong_point, by_point), slots.point, count), damping))
    point_side = sum_by(-np.einsum("mki,mk->mi", strong_point, residual), slots.point, count)
    mixed = np.einsum("mki,mkj->mij", strong, by_point)
    across = np.zeros((frames * CAMERA + 1, count, 3))
    across[:-1].reshape(frames, CAMERA, count, 3)[slots.frame, :, slots.point] = mixed[:, :CAMERA]
    across[-1] = sum_by(mixed[:, CAMERA], slots.point, count)
    move = _columns(frames, free)
    across = across[move]
    system, known = _together(own, side)
    system = _damped(system[np.ix_(move, move)][None], damping)[0]
    reduced = np.einsum("apj,pjk->apk", across, inverse).reshape(len(across), count * 3)
    try:
        found = np.linalg.solve(system - reduced @ across.reshape(len(across), count * 3).T, known[move] - reduced @ point_side.ravel())
    except np.linalg.LinAlgError:
        return None
    step = np.zeros(frames * CAMERA + 1)
    step[move] = found
    rest = point_side - np.einsum("apj,a->pj", across, found)
    return step[:-1].reshape(frames, CAMERA), float(step[-1]), np.einsum("pij,pj->pi", inverse, rest)


def _columns(frames: int, free: Free) -> NDArray[np.bool_]:
    """(7 F + 1,) which unknowns of the images and the focal length move."""
    image = np.array([free.poses] * 6 + [free.scales])
    return np.append(np.tile(image, frames), free.focal)


def _together(own: Array, side: Array) -> tuple[Array, Array]:
    """The matrix (7 F + 1, 7 F + 1) and right side of images (F, 8, 8), (F, 8) that share their last unknown."""
    frames = len(own)
    system = np.zeros((frames * CAMERA + 1, frames * CAMERA + 1))
    for f in range(frames):
        place = slice(f * CAMERA, (f + 1) * CAMERA)
        system[place, place] = own[f, :CAMERA, :CAMERA]
        system[place, -1] = system[-1, place] = own[f, :CAMERA, CAMERA]
    system[-1, -1] = own[:, CAMERA, CAMERA].sum()
    return system, np.append(side[:, :CAMERA].ravel(), side[:, CAMERA].sum())


def _damped(blocks: Array, damping: float) -> Array:
    diagonal = np.einsum("nii->ni", blocks)
    floor = 1e-10 * max(float(diagonal.mean()), 1e-12) if diagonal.size else 0.0
    return blocks + (damping * diagonal + floor)[:, :, None] * np.eye(blocks.shape[-1])


def _moved(state: State, image: Array, focal: float, points: Array) -> State:
    poses = state.poses.copy()
    poses[:, :3, :3] = Rotation.from_rotvec(image[:, :3]).as_matrix() @ poses[:, :3, :3]
    poses[:, :3, 3] += image[:, 3:6]
    scale = state.scale * np.exp(np.clip(image[:, 6], -1, 1))
    return State(poses, scale, state.focal * float(np.exp(np.clip(focal, -0.3, 0.3))), state.points + points)
