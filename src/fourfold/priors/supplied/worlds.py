"""Cameras that come with supplied files, and what their world is in the capture's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.geometry.alignment import umeyama
from fourfold.priors.contracts import Cameras, Provenance

ROTATION_TOLERANCE = 0.02  # largest difference of matrix entries for two cameras that look the same way
PATH_TOLERANCE = 0.05  # of the path's extent


@dataclass(frozen=True)
class World:
    """x in the file's world is `scale * rotation @ x + translation` in the capture's."""

    scale: float
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]

    def moved(self, xyz: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., 3) points of the file's world in the capture's."""
        return self.scale * np.asarray(xyz, np.float64) @ self.rotation.T + self.translation


def rigid(poses: NDArray[np.floating], what: str) -> NDArray[np.float64]:
    """(T, 4, 4) poses with exact rotations. FourfoldError if one is not finite or no rotation."""
    poses = np.array(poses, np.float64)
    if not np.isfinite(poses).all():
        raise FourfoldError(f"{what} holds a number that is not finite: write it again")
    left, singular, right = np.linalg.svd(poses[:, :3, :3])
    if np.abs(singular - 1).max() > 0.02 or np.linalg.det(poses[:, :3, :3]).min() < 0:
        raise FourfoldError(f"{what} holds a rotation that is not one: it is of another layout")
    poses[:, :3, :3] = left @ right
    poses[:, 3] = [0, 0, 0, 1]
    return poses


def cameras_from(
    capture: Capture, view: int, K: NDArray[np.float64], world_to_camera: NDArray[np.float64], provider: str, files: Sequence[object]
) -> Cameras:
    """The `Cameras` prior of one view's present frames, K (F, 3, 3) or (3, 3) and world_to_camera (F, 4, 4); other views are not known."""
    Ks, poses = np.full((capture.views, capture.times, 3, 3), np.nan), np.full((capture.views, capture.times, 4, 4), np.nan)
    moments = np.flatnonzero(capture.present[view])
    Ks[view, moments], poses[view, moments] = K, world_to_camera
    focal = np.atleast_3d(K)[..., 0, 0] if K.ndim == 3 else K[None, 0, 0]
    if not (np.isfinite(focal).all() and (focal > 0).all()):
        raise FourfoldError(f"{files[0]} has a focal length that is not above 0: write it again")
    none = np.zeros((0, 3), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)
    figures = {"source": "given", "files": str(files[0])}
    return Cameras(Provenance(provider, needs_weights=True, figures=figures), Ks, poses, *none)


def world_of(world_to_camera: NDArray[np.float64], capture: Capture, view: int) -> World | None:
    """What the world of a file's cameras (F, 4, 4), one per present frame, is in the capture's; None if no similarity explains both.

    Cameras that only turn leave the scale open: then they must be the same.
    """
    moments = np.flatnonzero(capture.present[view])
    theirs, ours = world_to_camera, capture.world_to_camera[view, moments]
    known = np.isfinite(ours).all(axis=(1, 2))
    if known.sum() < 2:
        return None
    theirs, ours = theirs[known], ours[known]
    if np.abs(theirs - ours).max() < 1e-6 * max(1.0, float(np.abs(ours).max())):
        return World(1.0, np.eye(3), np.zeros(3))
    at, to = (-np.einsum("tji,tj->ti", p[:, :3, :3], p[:, :3, 3]) for p in (theirs, ours))
    extent = float(np.linalg.norm(to - to.mean(0), axis=1).max())
    turn = np.einsum("tji,tjk->tik", ours[:, :3, :3], theirs[:, :3, :3])  # each is the rotation between the worlds
    left, _, right = np.linalg.svd(turn.mean(0))
    rotation = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
    if extent < 1e-9 or np.abs(turn - rotation).max() > ROTATION_TOLERANCE:
        return None
    scale = float(umeyama(torch.from_numpy(at @ rotation.T), torch.from_numpy(to))[0])
    translation = (to - scale * at @ rotation.T).mean(0)
    world = World(scale, rotation, translation)
    return world if float(np.linalg.norm(world.moved(at) - to, axis=1).max()) < PATH_TOLERANCE * extent else None


def need_world(world_to_camera: NDArray[np.float64], capture: Capture, view: int, path: object) -> World:
    """`world_of`. FourfoldError if there is none."""
    world = world_of(world_to_camera, capture, view)
    if world is None:
        raise FourfoldError(f"the cameras in {path} do not follow the capture's path: its depth and points belong to other cameras, use both or none")
    return world
