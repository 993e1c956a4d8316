"""Bundle adjustment of a small rigid problem with known intrinsics: Levenberg-Marquardt with the Schur complement over the points.

The steps are compiled (kernels/body.cpp), with a readable twin in numpy here.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourfold.errors import FourfoldError
from fourfold.kernels.library import load

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BundleConfig:
    """Numbers of the bundle adjustment.

    Attributes:
        iterations: at most this many accepted or refused steps.
        sigma: residual in pixels at which an observation starts to count less (Huber).
        tolerance: stop when a step lowers the cost by less than this share.
        move_points: whether points are free, and not the poses alone.
    """

    iterations: int = 25
    sigma: float = 1.0
    tolerance: float = 1e-5
    move_points: bool = True


@dataclass(frozen=True)
class Observations:
    """M image observations: frame (M,) and point (M,) indices, each pair at most once, xy (M, 2) pixels, weight (M,), K (F, 3, 3) of the frames."""

    frame: NDArray[np.int64]
    point: NDArray[np.int64]
    xy: Array
    weight: Array
    K: Array

    def of(self, keep: NDArray[np.bool_]) -> Observations:
        """The observations where `keep` is true; indices stay."""
        return Observations(self.frame[keep], self.point[keep], self.xy[keep], self.weight[keep], self.K)


def residuals(poses: Array, points: Array, seen: Observations) -> Array:
    """(M, 2) projected minus observed, pixels; large where a point is behind the camera."""
    camera = np.einsum("mij,mj->mi", poses[seen.frame, :3, :3], points[seen.point]) + poses[seen.frame, :3, 3]
    z = camera[:, 2:]
    pixel = np.einsum("mij,mj->mi", seen.K[seen.frame], camera)[:, :2] / np.where(z > 1e-9, z, np.nan)
    return np.nan_to_num(pixel - seen.xy, nan=1e3)


def bundle_adjust(poses: Array, points: Array, seen: Observations, config: BundleConfig) -> tuple[Array, Array, float]:
    """Refine (F, 4, 4) poses (object to camera) and (P, 3) points.

    The gauge (frame and scale of the object) is left to the damping.

    Returns:
        poses, points and the mean robust cost in pixels squared.
    """
    damping = 1e-3
    steps = _Steps(len(poses), len(points), seen, config)
    cost = steps.cost(poses, points)
    for _ in range(config.iterations):
        step = steps.step(poses, points, damping)
        if step is None:
            damping *= 10
            continue
        moved, shifted = _apply(poses, points, *step)
        new = steps.cost(moved, shifted)
        if new < cost:
            poses, points, gain, cost = moved, shifted, (cost - new) / max(cost, 1e-12), new
            damping = max(damping / 5, 1e-9)
            if gain < config.tolerance:
                break
        else:
            damping *= 8
            if damping > 1e8:
                break
    return poses, points, cost


class _Steps:
    """The steps of one adjustment: what does not change is laid out for the kernel once."""

    def __init__(self, frames: int, count: int, seen: Observations, config: BundleConfig) -> None:
        self.seen, self.config, self.library = seen, config, _library()
        if self.library is None:
            return
        order = np.lexsort((seen.frame, seen.point))
        first = np.concatenate([[0], np.cumsum(np.bincount(seen.point, minlength=count))])
        reals = (np.ascontiguousarray(v, np.float64) for v in (seen.K, seen.xy[order], seen.weight[order]))
        whole = (np.ascontiguousarray(v, np.int64) for v in (seen.frame[order], first))
        self.kept = (*reals, *whole)
        self.call = _Call(None, None, *(v.ctypes.data for v in self.kept), frames, count, config.sigma, 0.0, int(config.move_points))

    def cost(self, poses: Array, points: Array) -> float:
        """The mean robust cost, pixels squared."""
        if self.library is None:
            return reference_cost(residuals(poses, points, self.seen), self.seen.weight, self.config.sigma)
        _kept = self._point_to(poses, points)
        return float(self.library.ff_body_cost(ctypes.byref(self.call)))

    def step(self, poses: Array, points: Array, damping: float) -> tuple[Array, Array] | None:
        """(F, 6) and (P, 3) steps; None where the equations have no solution."""
        if self.library is None:
            return reference_step(poses, points, self.seen, damping, self.config)
        _kept = self._point_to(poses, points)
        self.call.damping = damping
        by_pose, by_point = np.empty((len(poses), 6)), np.empty((len(points), 3))
        status = self.library.ff_body_step(ctypes.byref(self.call), by_pose.ctypes.data, by_point.ctypes.data)
        if status == 1:
            raise FourfoldError("memory ran out while a moving object was solved: use a shorter clip or a smaller --quality")
        return None if status else (by_pose, by_point)

    def _point_to(self, poses: Array, points: Array) -> tuple[Array, Array]:
        """Let the call look at these; what is returned must outlive it."""
        kept = np.ascontiguousarray(poses, np.float64), np.ascontiguousarray(points, np.float64)
        self.call.poses, self.call.points = (v.ctypes.data for v in kept)
        return kept


def reference_cost(residual: Array, weight: Array, sigma: float) -> float:
    """The mean robust cost (Huber) of residuals (M, 2) of this weight (M,): the plain twin of the kernel's."""
    length = np.linalg.norm(residual, axis=1)
    huber = np.where(length < sigma, length**2, 2 * sigma * length - sigma**2)
    return float((weight * huber).sum() / max(float(weight.sum()), 1e-12))


def _jacobians(poses: Array, points: Array, seen: Observations) -> tuple[Array, Array]:
    """(M, 2, 6) by a left rotation vector and a translation of the pose, and (M, 2, 3) by the point."""
    rotation = poses[seen.frame, :3, :3]
    turned = np.einsum("mij,mj->mi", rotation, points[seen.point])
    camera = turned + poses[seen.frame, :3, 3]
    K = seen.K[seen.frame]
    z = np.maximum(camera[:, 2], 1e-9)
    image = np.zeros((len(z), 2, 3))
    image[:, 0, 0], image[:, 1, 1] = K[:, 0, 0] / z, K[:, 1, 1] / z
    image[:, 0, 1] = K[:, 0, 1] / z
    image[:, 0, 2] = -(K[:, 0, 0] * camera[:, 0] + K[:, 0, 1] * camera[:, 1]) / z**2
    image[:, 1, 2] = -K[:, 1, 1] * camera[:, 1] / z**2
    cross = np.zeros((len(z), 3, 3))
    cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 2] = turned[:, 2], -turned[:, 1], turned[:, 0]
    cross -= cross.transpose(0, 2, 1).copy()
    return np.concatenate([image @ cross, image], axis=2), image @ rotation


def reference_step(poses: Array, points: Array, seen: Observations, damping: float, config: BundleConfig) -> tuple[Array, Array] | None:
    """The plain twin of the kernel: (F, 6) steps of the poses and (P, 3) of the points; None where the equations have no solution."""
    residual = residuals(poses, points, seen)
    length = np.linalg.norm(residual, axis=1)
    weight = seen.weight * np.minimum(1.0, config.sigma / np.maximum(length, 1e-9))
    weight[length > 500] = 0
    by_pose, by_point = _jacobians(poses, points, seen)
    weighted = by_pose * weight[:, None, None]
    frames, count = len(poses), len(points)
    poses_block = sum_by(np.einsum("mki,mkj->mij", weighted, by_pose), seen.frame, frames)
    poses_side = sum_by(-np.einsum("mki,mk->mi", weighted, residual), seen.frame, frames)
    points_block = sum_by(np.einsum("mki,mkj->mij", by_point * weight[:, None, None], by_point), seen.point, count)
    points_side = sum_by(-np.einsum("mki,mk->mi", by_point * weight[:, None, None], residual), seen.point, count)
    poses_block = _damped(poses_block, damping)
    points_block = _damped(points_block, damping)
    try:
        if not config.move_points:
            return np.linalg.solve(poses_block, poses_side[..., None])[..., 0], np.zeros((count, 3))
        mixed = np.zeros((frames, 6, count, 3))
        mixed[seen.frame, :, seen.point] = np.einsum("mki,mkj->mij", weighted, by_point)
        inverse = np.linalg.inv(points_block)
        flat = mixed.reshape(frames * 6, count, 3)
        reduced = np.einsum("apj,pjk->apk", flat, inverse).reshape(frames * 6, count * 3)
        system = -reduced @ flat.reshape(frames * 6, count * 3).T
        for index in range(frames):
            system[index * 6 : index * 6 + 6, index * 6 : index * 6 + 6] += poses_block[index]
        pose_step = np.linalg.solve(system, poses_side.ravel() - reduced @ points_side.ravel())
        rest = points_side - np.einsum("apj,a->pj", flat, pose_step)
        return pose_step.reshape(frames, 6), np.einsum("pij,pj->pi", inverse, rest)
    except np.linalg.LinAlgError:
        return None


def sum_by(values: Array, index: NDArray[np.int64], count: int) -> Array:
    """(count, ...) sums of the rows of `values` (M, ...) that share an `index` (M,)."""
    flat = values.reshape(len(values), -1)
    total = np.stack([np.bincount(index, flat[:, i], count) for i in range(flat.shape[1])], axis=1)
    return total.reshape(count, *values.shape[1:])


def _damped(blocks: Array, damping: float) -> Array:
    size = blocks.shape[-1]
    diagonal = np.einsum("nii->ni", blocks)
    floor = 1e-8 * max(float(diagonal.mean()), 1e-12)
    return blocks + (damping * diagonal + floor)[:, :, None] * np.eye(size)


def _apply(poses: Array, points: Array, pose_step: Array, point_step: Array) -> tuple[Array, Array]:
    moved = poses.copy()
    turn = Rotation.from_rotvec(pose_step[:, :3]).as_matrix()
    moved[:, :3, :3] = turn @ poses[:, :3, :3]
    moved[:, :3, 3] += pose_step[:, 3:]
    return moved, points + point_step


class _Call(ctypes.Structure):
    """`FFBody` of kernels/body.cpp."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("poses", "points", "K", "xy", "weight", "frame", "first")),
        *((name, ctypes.c_int64) for name in ("frames", "count")),
        *((name, ctypes.c_double) for name in ("sigma", "damping")),
        ("move_points", ctypes.c_int64),
    )


def _library() -> ctypes.CDLL | None:
    library = load()
    if library is not None and library.ff_body_step.argtypes is None:
        library.ff_body_step.argtypes = [ctypes.POINTER(_Call), ctypes.c_void_p, ctypes.c_void_p]
        library.ff_body_cost.argtypes = [ctypes.POINTER(_Call)]
        library.ff_body_cost.restype = ctypes.c_double
    return library
