"""Where structure from motion of one object starts: which tracks, and a first shape that bulges towards the camera.

Turning little, a body and its mirror image in depth, or one twice as deep that turns half as far, are explained nearly as well: a solution that
starts on the wrong side stays there. Most bodies are convex, so one start says so; most turn slowly in the world while a camera goes round them, so
another does; and what they explain decides between all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def longest(visible: NDArray[np.bool_], most: int, *, evenly: bool) -> NDArray[np.int64]:
    """Rows of the `most` tracks that are seen longest (P, F), of three frames at least. Of equals the first are taken, which lie side by side as they
    are numbered from the top of the image to the bottom, or `evenly` any."""
    life = visible.sum(axis=1)
    order = np.random.default_rng(0).permutation(len(life)) if evenly else np.arange(len(life))
    chosen = order[np.argsort(-life[order], kind="stable")][:most]
    return chosen[life[chosen] >= 3]


def resting(masks: NDArray[np.bool_], K: Array, world_to_camera: Array) -> Array:
    """Object-to-camera poses (F, 4, 4) of a body that does not turn in the world, as far away as its mask is small, its usual distance 1; NaN where
    the mask (F, H, W) is empty. Round a body that a camera walks round this is nearly true, and windows of short tracks joined turn by turn are not.
    """
    area = masks.sum(axis=(1, 2))
    poses = np.full((len(masks), 4, 4), np.nan)
    for frame in np.flatnonzero(area):
        row, column = np.nonzero(masks[frame])
        poses[frame] = np.eye(4)
        poses[frame, :3, :3] = world_to_camera[frame, :3, :3]
        middle = np.array([np.median(column) + 0.5, np.median(row) + 0.5, 1.0])
        poses[frame, :3, 3] = np.linalg.solve(K[frame], middle) * np.sqrt(np.median(area[area > 0]) / area[frame])
    return poses


def bulging(xy: Array, K: Array) -> Array:
    """Points (P, 3), camera axes, that project to `xy` (P, 2) and lie on a body as deep as it is large, its middle at depth 1.

    Spread evenly over an ellipse, points lie within two standard deviations; K (3, 3).
    """
    away = xy - xy.mean(axis=0)
    spread = away.T @ away / len(xy)
    inside = np.maximum(1 - np.einsum("pi,ij,pj->p", away, np.linalg.pinv(spread), away) / 4, 0)
    radius = 2 * max(float(np.linalg.det(spread)), 0.0) ** 0.25
    depth = np.maximum(1 - radius / K[0, 0] * np.sqrt(inside), 0.2)
    return np.concatenate([xy, np.ones((len(xy), 1))], axis=1) @ np.linalg.inv(K).T * depth[:, None]
