"""Parts of a mostly rigid object that move on their own: limbs, hands, wheels. Their tracks are lifted one by one instead."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fourfold.priors.classical.mover_models import Mover, MoverModel
from fourfold.priors.classical.track_step import sample

Array = NDArray[np.float64]


def loose_tracks(mover: Mover, model: MoverModel, limit: float, least_frames: int = 4) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of the mover's tracks its rigid body does not explain, and which could be judged at all.

    Each track is put on the body's surface in the middle of its visible frames and projected into the others.

    Args:
        limit: median distance in pixels beyond which a track is loose.

    Returns:
        two (P,) bool arrays; nothing is loose for a model without poses.
    """
    tracks, count = model.tracks, len(model.tracks.xy)
    loose, judged = np.zeros(count, bool), np.zeros(count, bool)
    if model.object_to_camera is None:
        return loose, judged
    poses = model.object_to_camera
    placed = np.isfinite(poses[:, 0, 0])
    usable = tracks.visible & placed[None]
    error = np.full((count, len(mover.times)), np.nan)
    home = np.array([np.flatnonzero(u)[int(u.sum()) // 2] if u.any() else -1 for u in usable])
    for frame in np.unique(home[home >= 0]):
        own = np.flatnonzero((home == frame) & (usable.sum(axis=1) >= least_frames))
        z = sample(model.depth[frame], tracks.xy[own, frame])
        whole = sample((model.depth[frame] > 0).astype(np.float32), tracks.xy[own, frame]) > 0.999
        own, z = own[whole], z[whole]
        rays = np.concatenate([tracks.xy[own, frame], np.ones((len(own), 1))], axis=1) @ np.linalg.inv(mover.K[frame]).T
        body = (rays * z[:, None] - poses[frame, :3, 3]) @ poses[frame, :3, :3]
        camera = np.einsum("fij,pj->pfi", poses[placed, :3, :3], body) + poses[placed][None, :, :3, 3]
        pixel = np.einsum("fij,pfj->pfi", mover.K[placed], camera)
        away = np.linalg.norm(pixel[..., :2] / np.maximum(pixel[..., 2:], 1e-9) - tracks.xy[own][:, placed], axis=2)
        error[np.ix_(own, np.flatnonzero(placed))] = np.where(usable[own][:, placed], away, np.nan)
        judged[own] = True
    loose[judged] = np.nanmedian(error[judged], axis=1) > limit
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
