"""Parts of a mostly rigid object that move on their own: limbs, hands, wheels. Their tracks are lifted one by one instead."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fourfold.priors.movers.mover_models import Mover, MoverModel


def loose_tracks(mover: Mover, model: MoverModel, limit: float, least_frames: int = 4) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of the mover's tracks its rigid body does not explain, and which could be judged at all.

    Each track is given the point of the body that fits it best over all its visible frames; what remains is motion of its own.

    Args:
        limit: median distance in pixels beyond which a track is loose.

    Returns:
        two (P,) bool arrays; nothing is loose for a model without poses.
    """
    tracks, count = model.tracks, len(model.tracks.xy)
    if model.object_to_camera is None or count == 0:
        return np.zeros(count, bool), np.zeros(count, bool)
    placed = np.flatnonzero(np.isfinite(model.object_to_camera[:, 0, 0]))
    poses, K = model.object_to_camera[placed], mover.K[placed]
    xy, usable = tracks.xy[:, placed].astype(np.float64), tracks.visible[:, placed]
    judged = usable.sum(axis=1) >= least_frames
    rays = np.concatenate([xy, np.ones((*xy.shape[:2], 1))], axis=2)
    direction = np.einsum("fji,fjk,pfk->pfi", poses[:, :3, :3], np.linalg.inv(K), rays)
    direction /= np.linalg.norm(direction, axis=2, keepdims=True)
    origin = -np.einsum("fji,fj->fi", poses[:, :3, :3], poses[:, :3, 3])
    weight = usable.astype(np.float64)
    outside = weight.sum(axis=1)[:, None, None] * np.eye(3) - np.einsum("pf,pfi,pfj->pij", weight, direction, direction)
    side = weight @ origin - np.einsum("pf,pfi,pfj,fj->pi", weight, direction, direction, origin)
    points = np.linalg.solve(outside + 1e-4 * (1 + weight.sum(axis=1))[:, None, None] * np.eye(3), side[..., None])[..., 0]
    camera = np.einsum("fij,pj->pfi", poses[:, :3, :3], points) + poses[None, :, :3, 3]
    pixel = np.einsum("fij,pfj->pfi", K, camera)
    away = np.linalg.norm(pixel[..., :2] / np.maximum(pixel[..., 2:], 1e-9) - xy, axis=2)
    error = np.nanmedian(np.where(usable, away, np.nan)[judged], axis=1)
    loose = np.zeros(count, bool)
    loose[judged] = error > limit
    return loose, judged


def loose_points(
    mover: Mover, model: MoverModel, loose: NDArray[np.bool_], judged: NDArray[np.bool_], reach: float = 8.0, nearest: int = 5
) -> NDArray[np.bool_]:
    """(N,) which dense points of a rigid body lie where most tracks are loose, seen in the frame each point came from.

    Args:
        reach: tracks farther away than this many pixels have no say.
    """
    if model.shape is None or model.object_to_camera is None:
        return np.zeros(0, bool)
    result = np.zeros(len(model.shape.points), bool)
    for frame in np.unique(model.shape.seen_from):
        rows = np.flatnonzero(model.shape.seen_from == frame)
        own = np.flatnonzero(judged & model.tracks.visible[:, frame])
        if len(own) < nearest:
            continue
        pose = model.object_to_camera[frame]
        pixel = (model.shape.points[rows] @ pose[:3, :3].T + pose[:3, 3]) @ mover.K[frame].T
        distance, index = cKDTree(model.tracks.xy[own, frame]).query(pixel[:, :2] / pixel[:, 2:], k=nearest)
        near = distance < reach
        share = (loose[own][index] & near).sum(axis=1) / np.maximum(near.sum(axis=1), 1)
        result[rows] = share > 0.5
    return result
