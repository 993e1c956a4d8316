"""Novel views and novel times of MonoFusion's evaluation: turned cameras, poses half-way between two moments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.rotations import quat_normalize, slerp
from fourfold.scene.scene import Scene

Array = NDArray[np.float64]


def turned_about(world_to_camera: Array, centre: Array, up: Array, degrees: float) -> Array:
    """(4, 4) camera after a turn of `degrees` about the axis `up` (3,) through `centre` (3,), which stays at the same pixel and distance.

    For 5-, 45- and 90-degree novel views (spec monofusion.md section 9).
    """
    axis = np.asarray(up, np.float64) / np.linalg.norm(up)
    angle = np.radians(degrees)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.eye(4)
    turn[:3, :3] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    turn[:3, 3] = centre - turn[:3, :3] @ centre
    result: Array = world_to_camera @ np.linalg.inv(turn)
    return result


def look_at_point(world_to_cameras: Array) -> Array:
    """(3,) the point nearest to the optical axes of (N, 4, 4) cameras, in the least-squares sense: what a rig looks at."""
    axes = world_to_cameras[:, 2, :3]
    centres = -np.einsum("nji,nj->ni", world_to_cameras[:, :3, :3], world_to_cameras[:, :3, 3])
    away = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    point: Array = np.linalg.lstsq(away.sum(0), np.einsum("nij,nj->i", away, centres), rcond=None)[0]
    return point


def halfway(before: Gaussians, after: Gaussians) -> Gaussians:
    """The same N Gaussians half-way between two moments: mean of the positions, spherical mean of the rotations (nearer sign), and `before`'s
    appearance. Novel-time synthesis, spec monofusion.md section 9.
    """
    start, end = quat_normalize(before.quat_wxyz), quat_normalize(after.quat_wxyz)
    middle = slerp(start, end, torch.full_like(start[..., 0], 0.5))
    return replace(before, means=0.5 * (before.means + after.means), quat_wxyz=middle)


def novel_time(scene: Scene, times: tuple[float, float]) -> Gaussians:
    """The scene half-way between two moments (seconds), from its Gaussians at those two alone."""
    return halfway(scene.at(times[0]), scene.at(times[1]))
