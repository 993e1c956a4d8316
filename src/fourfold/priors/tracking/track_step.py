"""One step of point tracking between two frames: Lucas-Kanade from a guess, back-check, patch correlation, agreement with neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Points = NDArray[np.float32]
Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class MatchConfig:
    """Numbers of one match.

    Attributes:
        window: side of the Lucas-Kanade window, pixels.
        back_error: forward-backward error beyond which a match is refused, pixels.
        patch: side of the square patch of the correlation check, pixels.
        neighbours: how many neighbouring tracks a displacement is compared with.
        neighbour_error, neighbour_share: a displacement may differ from its neighbours' median by this many pixels plus this share of it.
    """

    window: int = 13
    back_error: float = 1.0
    patch: int = 9
    neighbours: int = 8
    neighbour_error: float = 1.5
    neighbour_share: float = 0.25


def grey_of(image: NDArray[np.uint8]) -> Grey:
    """(H, W) uint8 of an (H, W, 3) uint8 RGB image."""
    return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


def match(first: Grey, second: Grey, points: Points, guess: Points, levels: int, config: MatchConfig) -> tuple[Points, NDArray[np.float32]]:
    """Move `points` of `first` to `second`, starting at `guess`.

    Args:
        points, guess: (N, 2) pixels, pixel centres at +0.5.
        levels: pyramid levels used; 0 refines only.

    Returns:
        (N, 2) positions and (N,) forward-backward errors in pixels, infinite where the match failed.
    """
    if len(points) == 0:
        return points.copy(), np.zeros(0, np.float32)
    options = {
        "winSize": (config.window, config.window),
        "maxLevel": levels,
        "criteria": (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 0.01),
        "flags": cv2.OPTFLOW_USE_INITIAL_FLOW,
    }
    start, there = np.ascontiguousarray(points - 0.5, np.float32), np.ascontiguousarray(guess - 0.5, np.float32)
    found, status, _ = cv2.calcOpticalFlowPyrLK(first, second, start, there.copy(), **options)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(second, first, found, np.ascontiguousarray(start + found - there), **options)
    error = np.linalg.norm(back - start, axis=1)
    good = (status[:, 0] > 0) & (returned[:, 0] > 0) & np.isfinite(found).all(axis=1)
    return np.where(good[:, None], found, there) + np.float32(0.5), np.where(good, error, np.inf).astype(np.float32)


def sample(image: NDArray[np.floating], points: Points) -> NDArray[np.float32]:
    """(N,) or (N, C) bilinear samples of an (H, W) or (H, W, C) image at (N, 2) pixels, pixel centres at +0.5; 0 outside."""
    return remapped(image.astype(np.float32), points[:, :1] - 0.5, points[:, 1:] - 0.5, cv2.BORDER_CONSTANT)[:, 0]


def remapped(image: NDArray[Any], u: NDArray[np.floating], v: NDArray[np.floating], border: int = cv2.BORDER_REPLICATE) -> NDArray[np.float32]:
    """(N, k) or (N, k, C) bilinear samples of an (H, W) or (H, W, C) image at columns u and rows v (N, k), pixel centres at whole numbers.

    OpenCV takes at most 32767 rows at once.
    """
    u, v = (np.ascontiguousarray(c, np.float32) for c in (u, v))
    blocks = [cv2.remap(image, u[i : i + 30000], v[i : i + 30000], cv2.INTER_LINEAR, borderMode=border) for i in range(0, len(u), 30000)]
    return np.concatenate(blocks).astype(np.float32) if blocks else np.zeros((*u.shape, *image.shape[2:]), np.float32)


def patches(frame: Grey, points: Points, side: int) -> NDArray[np.float32]:
    """(N, side * side) patches around (N, 2) pixels, made zero-mean and of unit length (zeros where flat)."""
    offset = np.arange(side, dtype=np.float32) - side // 2
    u = (points[:, 0:1] - 0.5) + np.tile(offset, side)[None]
    v = (points[:, 1:2] - 0.5) + np.repeat(offset, side)[None]
    values = remapped(frame, u, v)
    values -= values.mean(axis=1, keepdims=True)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.where(length > side, values / np.maximum(length, 1e-6), 0).astype(np.float32)


def correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) zero-mean normalised correlation of patches made by `patches`."""
    return (first * second).sum(axis=1)


def neighbour_motion(points: Points, motion: Points, group: NDArray[np.int32], where: Points, where_group: NDArray[np.int32], count: int) -> Points:
    """(M, 2) median motion of the `count` nearest of (N, 2) `points` of the same group around (M, 2) `where`; NaN for an empty group."""
    result = np.full((len(where), 2), np.nan, np.float32)
    for label in np.unique(where_group):
        own, target = np.flatnonzero(group == label), np.flatnonzero(where_group == label)
        if len(own) == 0:
            continue
        near = min(count, len(own))
        _, index = cKDTree(points[own]).query(where[target], k=near)
        result[target] = np.median(motion[own][index.reshape(len(target), near)], axis=1)
    return result


def agrees(points: Points, motion: Points, group: NDArray[np.int32], config: MatchConfig) -> NDArray[np.bool_]:
    """(N,) whether each motion agrees with the median of its neighbours of the same group."""
    if len(points) == 0:
        return np.zeros(0, bool)
    typical = neighbour_motion(points, motion, group, points, group, config.neighbours + 1)
    limit = config.neighbour_error + config.neighbour_share * np.linalg.norm(typical, axis=1)
    return np.linalg.norm(motion - typical, axis=1) <= limit
