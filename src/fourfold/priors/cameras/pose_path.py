"""Poses at every moment from poses at some."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline, Slerp

Array = NDArray[np.float64]


def fill_poses(poses: Array, known: NDArray[np.bool_], timestamps: Array) -> Array:
    """(T, 4, 4) rigid poses with the unknown ones interpolated: cubic between known ones, constant beyond the first and the last.

    Args:
        poses: (T, 4, 4), ignored where not known.
        known: (T,) bool, at least one.
        timestamps: (T,) increasing.
    """
    own = np.flatnonzero(known)
    result = poses.copy()
    missing = np.flatnonzero(~known)
    if len(missing) == 0:
        return result
    at = np.clip(timestamps[missing], timestamps[own[0]], timestamps[own[-1]])
    if len(own) == 1:
        result[missing] = poses[own[0]]
        return result
    result[missing] = np.eye(4)
    result[missing, :3, :3] = RotationSpline(timestamps[own], Rotation.from_matrix(poses[own, :3, :3]))(at).as_matrix()
    result[missing, :3, 3] = fill_path(poses[:, :3, 3], known, timestamps)[missing]
    return result


def fill_path(path: Array, known: NDArray[np.bool_], timestamps: Array) -> Array:
    """(T, C) values with the unknown moments interpolated: cubic between known ones (linear between two), constant beyond the ends."""
    own = np.flatnonzero(known)
    result = path.copy()
    missing = np.flatnonzero(~known)
    at = np.clip(timestamps[missing], timestamps[own[0]], timestamps[own[-1]])
    if len(own) >= 3:
        result[missing] = CubicSpline(timestamps[own], path[own], bc_type="natural" if len(own) == 3 else "not-a-knot")(at)
    else:
        for axis in range(path.shape[1]):
            result[missing, axis] = np.interp(at, timestamps[own], path[own, axis])
    return result


def interpolate_pose(placed: dict[int, Array], timestamps: Array, t: int) -> Array:
    """The pose at time index t between its placed neighbours (rotation by slerp, centre linearly), or that of the nearest one at an end."""
    known = np.array(sorted(placed))
    before, after = known[known < t], known[known > t]
    if not len(before) or not len(after):
        return placed[int(known[np.abs(known - t).argmin()])].copy()
    a, b = int(before[-1]), int(after[0])
    share = float((timestamps[t] - timestamps[a]) / (timestamps[b] - timestamps[a]))
    rotations = Rotation.from_matrix(np.stack([placed[a][:3, :3], placed[b][:3, :3]]))
    rotation = Slerp([0.0, 1.0], rotations)(share).as_matrix()
    centres = [-placed[i][:3, :3].T @ placed[i][:3, 3] for i in (a, b)]
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = -rotation @ ((1 - share) * centres[0] + share * centres[1])
    return pose
