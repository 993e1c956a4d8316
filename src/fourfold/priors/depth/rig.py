"""What a rig of several cameras looks at, from its cameras alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.depth.sweep_views import usable_frames


@dataclass(frozen=True)
class Stage:
    """The place that the training cameras look at.

    Attributes:
        center: (3,) the point nearest to all optical axes, scene units.
        radius: largest distance of a camera from it, scene units.
        arc: largest angle between two viewing directions, radians.
        views: number of training cameras.
    """

    center: NDArray[np.float64]
    radius: float
    arc: float
    views: int


def stage_of(capture: Capture) -> Stage | None:
    """The place that the rig looks at, or None where fewer than two training cameras are known."""
    frames = usable_frames(capture)
    return around(capture, frames) if len({view for view, _ in frames}) >= 2 else None


def around(capture: Capture, frames: Sequence[tuple[int, int]]) -> Stage | None:
    """The place that the cameras of `frames`, (view, time index) pairs, look at, or None for fewer than two."""
    if len(frames) < 2:
        return None
    views = len({view for view, _ in frames})
    poses = np.stack([capture.world_to_camera[frame] for frame in frames])
    centers = -np.einsum("nji,nj->ni", poses[:, :3, :3], poses[:, :3, 3])
    axes = poses[:, 2, :3]
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    damping = 1e-6 * len(frames)  # parallel axes meet nowhere: then the middle of the cameras
    point = np.linalg.solve(across.sum(0) + damping * np.eye(3), np.einsum("nij,nj->i", across, centers) + damping * centers.mean(0))
    cosine = float(np.clip(axes @ axes.T, -1, 1).min()) if len(axes) < 3000 else float(np.clip(axes[:: len(axes) // 1000] @ axes.T, -1, 1).min())
    return Stage(point, float(np.linalg.norm(centers - point, axis=1).max()), float(np.arccos(cosine)), views)
