"""Cameras of photos, and of several cameras that all stand: incremental mapping, and what is worth saying about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourfold.capture.capture import CameraSource, Capture
from fourfold.notices import fallback
from fourfold.priors.classical.camera_checks import CheckConfig, camera_centres, check_cameras
from fourfold.priors.classical.camera_gaps import fill_missing_poses
from fourfold.priors.classical.sfm import Features, SfmConfig, Structure, map_structure
from fourfold.priors.contracts import Cameras, Masks, Provenance


@dataclass(frozen=True)
class CameraConfig:
    """Numbers of the cameras of photos.

    Attributes:
        sfm: of structure from motion.
        checks: of the checks on the result.
        min_registered: share of frames structure from motion must place to be believed.
    """

    sfm: SfmConfig = field(default_factory=SfmConfig)
    checks: CheckConfig = field(default_factory=CheckConfig)
    min_registered: float = 0.5


@dataclass(frozen=True)
class Solution:
    """One answer to where the cameras are, with what it rests on. K (V, T, 3, 3), world_to_camera (V, T, 4, 4), NaN where not present."""

    source: CameraSource
    K: NDArray[np.float64]
    world_to_camera: NDArray[np.float64]
    structure: Structure | None
    guessed: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)


def outside_masks(features: Features, masks: Masks | None) -> NDArray[np.bool_]:
    """(N,) which keypoints lie on the background by `masks` (everything not surely background is left out)."""
    keep = np.ones(len(features.xy), bool)
    if masks is None:
        return keep
    view, time = features.view[features.image], features.time[features.image]
    for v, mask in enumerate(masks.mask):
        mine = view == v
        x, y = (np.clip(features.xy[mine, axis].astype(int), 0, mask.shape[2 - axis] - 1) for axis in (0, 1))
        keep[mine] = mask[time[mine], y, x] < 0
    return keep


def solve(
    capture: Capture, features: Features, keep: NDArray[np.bool_], config: CameraConfig = CameraConfig(), focal: float | None = None
) -> Solution:
    """Where the photos were taken, by these keypoints; `focal` (capture pixels) starts structure from motion."""
    structure = map_structure(features, keep, config.sfm, focal)
    registered = float(structure.registered.mean())
    return _unknown(capture, registered) if registered < config.min_registered else _mapped(capture, features, structure, config)


def cameras_of(solution: Solution, capture: Capture) -> Cameras:
    """The `Cameras` prior of a solution."""
    structure = solution.structure
    points = structure.points.astype(np.float32) if structure else np.zeros((0, 3), np.float32)
    errors = structure.errors if structure else np.zeros(0, np.float32)
    lengths = structure.track_lengths.astype(np.int32) if structure else np.zeros(0, np.int32)
    figures = {"source": solution.source, "interpolated": [list(pair) for pair in solution.guessed]} | solution.figures
    provider = "pycolmap" if structure else "one_place"
    return Cameras(Provenance(provider, notes=solution.notes, figures=figures), solution.K, solution.world_to_camera, points, errors, lengths)


def _blank(capture: Capture) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    shape = (capture.views, capture.times)
    return np.full((*shape, 3, 3), np.nan), np.full((*shape, 4, 4), np.nan)


def _mapped(capture: Capture, features: Features, structure: Structure, config: CameraConfig) -> Solution:
    K, poses = _blank(capture)
    guessed: list[tuple[int, int]] = []
    lost: list[str] = []
    for view in range(capture.views):
        rows = np.flatnonzero((features.view == view) & structure.registered)
        if not len(rows):
            lost.append(capture.view_names[view])
            continue
        K[view] = structure.K(int(rows[0]))
        placed = {int(features.time[row]): structure.world_to_camera[row] for row in rows}
        if len(features.still) and features.still[view]:
            poses[view, capture.present[view]] = mean_pose(list(placed.values()))
            continue
        poses[view], missing = fill_missing_poses(capture, view, placed, features, structure)
        guessed += [(view, t) for t in missing]
    notes, figures = check_cameras(structure, capture, config.checks)
    if lost:
        notes = (*notes, f"the cameras {', '.join(lost)} share too few points with the others to be placed and are left out: give their calibration")
        fallback(notes[-1])
        figures |= {"cameras_left_out": lost}
    if guessed:
        notes = (*notes, f"{len(guessed)} frames could not be placed by structure from motion or its points and are interpolated")
    return Solution("estimated", K, poses, structure, tuple(guessed), notes, figures)


def mean_pose(poses: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """(4, 4) the one pose of a camera that stands still: mean rotation and median centre of its estimates."""
    stack = np.stack(poses)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_matrix(stack[:, :3, :3]).mean().as_matrix()
    pose[:3, 3] = -pose[:3, :3] @ np.median(camera_centres(stack), axis=0)
    return pose


def _unknown(capture: Capture, registered: float) -> Solution:
    """Cameras that cannot be found: all in one place, said loudly."""
    K, poses = _blank(capture)
    for view in range(capture.views):
        width, height = (int(n) for n in capture.sizes[view])
        K[view], poses[view] = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]]), np.eye(4)
    whose = "of the photos" if capture.views == 1 else f"of the images of {capture.views} cameras"
    note = f"structure from motion placed only {registered:.0%} {whose}: give their calibration"
    fallback(note)
    return Solution("fixed", K, poses, None, notes=(note,))
