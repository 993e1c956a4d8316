"""Neighbours as witnesses: a point off the surface, or one that slid along it, contradicts those around it.

The epipolar filter and triangulation cannot see a wrong match along the epipolar line, nor a track that drifts alike in all cameras.
Design of ours beside the rules of spec sparse_dynamic_cameras.md section 2.5; MoSca removes statistical outliers per frame (spec mosca.md section 5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fourfold.capture.capture import Capture

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SupportNumbers:
    """When neighbours contradict.

    Attributes:
        neighbours: how many of them are asked.
        pixels: what measuring alone may amount to, pixels at the point's distance.
        slope: depth may change by so many times the distance between two points across the ray.
        stretch: share by which the distance of two neighbours may change.
        depth_share, motion_share: share of the neighbours that must agree on the depth, and on the motion; with fewer than `witnesses` of
            them there is no verdict.
    """

    neighbours: int = 12
    pixels: float = 1.0
    slope: float = 1.0
    stretch: float = 0.1
    depth_share: float = 0.7
    motion_share: float = 0.7
    witnesses: int = 4


def on_surface(xyz: Array, valid: NDArray[np.bool_], capture: Capture, numbers: SupportNumbers = SupportNumbers()) -> NDArray[np.bool_]:
    """(P, T) `valid` without the tracks whose depth, over their moments and the cameras, contradicts the points beside them in the image.

    Args:
        xyz: (P, T, 3) world; valid: (P, T).
    """
    asked, agreed = np.zeros(len(xyz)), np.zeros(len(xyz))
    for view in np.flatnonzero(capture.train.any(axis=1)):
        for time in np.flatnonzero(capture.train[view]):
            rows = np.flatnonzero(valid[:, time])
            pose, K = capture.world_to_camera[view, time], capture.K[view, time]
            if len(rows) <= numbers.witnesses or not np.isfinite(pose).all():
                continue
            local = xyz[rows, time] @ pose[:3, :3].T + pose[:3, 3]
            front = local[:, 2] > 1e-9
            rows, local = rows[front], local[front]
            if len(rows) <= numbers.witnesses:
                continue
            flat = local[:, :2] / local[:, 2:]
            near = min(numbers.neighbours, len(rows) - 1)
            distance, index = cKDTree(flat).query(flat, k=near + 1)
            depth = local[:, 2:]
            across = distance[:, 1:] * depth
            allowed = numbers.slope * across + numbers.pixels * depth / K[0, 0]
            asked[rows] += near
            agreed[rows] += (np.abs(depth[index[:, 1:], 0] - depth) <= allowed).sum(axis=1)
    good = (asked < numbers.witnesses) | (agreed >= numbers.depth_share * asked)
    return valid & good[:, None]


def moves_along(
    xyz: Array, valid: NDArray[np.bool_], query: NDArray[np.int32], capture: Capture, numbers: SupportNumbers = SupportNumbers()
) -> NDArray[np.bool_]:
    """(P, T) `valid` without the moments at which a point is no longer where its neighbours at its own moment would have it.

    The reference is the valid moment nearest to the query. At another moment the distances to the neighbours of then must be the same.

    Args:
        xyz: (P, T, 3) world; valid: (P, T); query: (P,) time index at which each track was started.
    """
    keep = valid.copy()
    gap = np.where(valid, np.abs(np.arange(valid.shape[1])[None] - query[:, None]), np.iinfo(np.int32).max)
    reference = np.where(valid.any(axis=1), gap.argmin(axis=1), -1)
    pixel = _pixel_sizes(xyz, valid, capture)
    for time in np.unique(reference[reference >= 0]):
        pool, own = np.flatnonzero(valid[:, time]), np.flatnonzero(reference == time)
        near = min(numbers.neighbours, len(pool) - 1)
        if near < numbers.witnesses:
            continue
        _, index = cKDTree(xyz[pool, time]).query(xyz[own, time], k=near + 1)
        other = pool[index]
        apart = np.linalg.norm(xyz[other] - xyz[own][:, None], axis=-1)  # (own, near + 1, T)
        before = apart[:, :, time][:, :, None]
        shared = valid[other] & valid[own][:, None] & (other != own[:, None])[..., None]
        allowed = numbers.stretch * before + numbers.pixels * pixel[time]
        agreed = (shared & (np.abs(apart - before) <= allowed)).sum(axis=1)
        asked = shared.sum(axis=1)
        keep[own] &= (asked < numbers.witnesses) | (agreed >= numbers.motion_share * asked)
    return keep


def _pixel_sizes(xyz: Array, valid: NDArray[np.bool_], capture: Capture) -> Array:
    """(T,) width of a pixel at the median distance of the valid points from the training cameras of that moment, scene units."""
    sizes = np.zeros(xyz.shape[1])
    for time in np.flatnonzero(valid.any(axis=0)):
        views = np.flatnonzero(capture.train[:, time] & np.isfinite(capture.world_to_camera[:, time]).all(axis=(1, 2)))
        poses = capture.world_to_camera[views, time]
        middle = np.median(xyz[valid[:, time], time], axis=0)
        depth = poses[:, 2, :3] @ middle + poses[:, 2, 3]
        sizes[time] = np.median(np.abs(depth) / capture.K[views, time, 0, 0])
    return sizes
