"""Bundle adjustment of a small rigid problem with known intrinsics: Levenberg-Marquardt with the Schur complement over the points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

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
    cost = _cost(residuals(poses, points, seen), seen.weight, config.sigma)
    for _ in range(config.iterations):
        step = _step(poses, points, seen, damping, config)
        if step is None:
            damping *= 10
            continue
        moved, shifted = _apply(poses, points, *step)
        new = _cost(residuals(moved, shifted, seen), seen.weight, config.sigma)
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


def _cost(residual: Array, weight: Array, sigma: float) -> float:
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


def _step(poses: Array, points: Array, seen: Observations, damping: float, config: BundleConfig) -> tuple[Array, Array] | None:
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
