"""A first depth scale per image, in closed form. Source: spec mosca.md section 4.

How the scales of two images compare, no camera can tell wrong: the same two static points are equally far apart in both. How depth compares
with the cameras' path follows from the given poses of images next to each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourfold.priors.depth_alignment.static_slots import Slots

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StartNumbers:
    """How the first scales are found.

    Attributes:
        gaps: images so many places apart are compared.
        common: static points that two images must share.
        far: of a pair of images, points whose step differs from the cameras' by more than this many medians are left out (spec section 4).
        rounds: of reweighting pairs of images that contradict the others.
    """

    gaps: tuple[int, ...] = (1, 2, 4, 8, 16)
    common: int = 8
    far: float = 2.0
    rounds: int = 5


def camera_points(slots: Slots, K: Array) -> Array:
    """(M, 3) what each slot's depth says in the axes of its own camera, K (F, 3, 3)."""
    rays = np.concatenate([slots.xy, np.ones((len(slots.xy), 1))], axis=1)
    return np.einsum("mij,mj->mi", np.linalg.inv(K)[slots.frame], rays) * slots.depth[:, None]


def shared_slots(slots: Slots, numbers: StartNumbers) -> list[tuple[int, int, NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of images (i, j) with the rows of the slots of the points that both show, in one order."""
    order = [np.flatnonzero(slots.frame == f) for f in range(len(slots.times))]
    pairs = []
    for gap in numbers.gaps:
        for i in range(len(order) - gap):
            _, a, b = np.intersect1d(slots.point[order[i]], slots.point[order[i + gap]], assume_unique=True, return_indices=True)
            if len(a) >= numbers.common:
                pairs.append((i, i + gap, order[i][a], order[i + gap][b]))
    return pairs


def relative_scales(slots: Slots, K: Array, numbers: StartNumbers = StartNumbers()) -> Array:
    """(F,) scales that make distances between static points alike in all images; their geometric mean is 1. No pose is used."""
    local, frames = camera_points(slots, K), len(slots.times)
    rows, right, weight = [], [], []
    for i, j, a, b in shared_slots(slots, numbers):
        half = len(a) // 2
        steps = [np.linalg.norm(local[r] - np.roll(local[r], half, axis=0), axis=1) for r in (a, b)]
        apart = (steps[0] > 0) & (steps[1] > 0)
        if apart.any():
            row = np.zeros(frames)
            row[i], row[j] = 1.0, -1.0
            rows.append(row)
            right.append(float(np.median(np.log(steps[1][apart] / steps[0][apart]))))
            weight.append(np.sqrt(len(a)))
    if not rows:
        return np.ones(frames)
    system, target, base = np.stack(rows), np.array(right), np.array(weight)
    now, held = base.copy(), np.full((1, frames), 1e-3)
    log_scale = np.zeros(frames)
    for _ in range(numbers.rounds):
        log_scale = np.linalg.lstsq(np.concatenate([system * now[:, None], held]), np.append(target * now, 0.0), rcond=None)[0]
        now = base / np.sqrt(1 + (np.abs(system @ log_scale - target) / 0.02) ** 2) ** 0.5
    return np.exp(log_scale - log_scale.mean())


def depth_per_path(slots: Slots, K: Array, world_to_camera: Array, scale: Array, numbers: StartNumbers = StartNumbers()) -> float | None:
    """s = -(a . b) / (b . b), by which the path must be multiplied to fit the depth times `scale` (F,).

    a is the difference of a static point as two images place it, each turned into the world's axes, b that of the camera centres (spec
    section 4, there for adjacent images): C_i + y_i / s = C_j + y_j / s. The median over pairs, weighted by (b . b). None where no pair of
    images tells a positive one.
    """
    turned = np.einsum("mji,mj->mi", world_to_camera[slots.frame, :3, :3], camera_points(slots, K) * scale[slots.frame, None])
    centre = -np.einsum("fji,fj->fi", world_to_camera[:, :3, :3], world_to_camera[:, :3, 3])
    found, weight = [], []
    for i, j, rows_i, rows_j in shared_slots(slots, numbers):
        b = centre[i] - centre[j]
        length = float(b @ b)
        if length > 0:
            a = turned[rows_i] - turned[rows_j]
            off = np.linalg.norm(a - np.median(a, axis=0), axis=1)
            near = off <= numbers.far * np.median(off)
            found.append(-float((a[near] @ b).mean()) / length)
            weight.append(length)
    if not found:
        return None
    order = np.argsort(found)
    total = np.cumsum(np.array(weight)[order])
    middle = float(np.array(found)[order][np.searchsorted(total, total[-1] / 2)])
    return middle if middle > 0 else None


def start_scales(slots: Slots, K: Array, world_to_camera: Array, numbers: StartNumbers = StartNumbers()) -> Array | None:
    """(F,) factors on the depth of each image that fit the poses (F, 4, 4), or None where the camera does not travel."""
    relative = relative_scales(slots, K, numbers)
    path = depth_per_path(slots, K, world_to_camera, relative, numbers)
    return None if path is None else relative / path
