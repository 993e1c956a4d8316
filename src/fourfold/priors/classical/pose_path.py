"""Poses at every moment from poses at some: cubic through the known ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

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
