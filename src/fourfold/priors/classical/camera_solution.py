"""Cameras of a bare clip: structure from motion where the camera travelled, rotations where it only turned, rest where it stood still."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourfold.capture.capture import CameraSource, Capture
from fourfold.notices import fallback
from fourfold.priors.classical.camera_checks import CheckConfig, camera_centres, check_cameras, parallax_degrees
from fourfold.priors.classical.camera_gaps import fill_missing_poses
from fourfold.priors.classical.rotation import RotationConfig, Turning, fit_turning, verified_pairs
from fourfold.priors.classical.sfm import Features, SfmConfig, Structure, keypoints_of, map_structure
from fourfold.priors.classical.structure_conflict import ConflictConfig, contradiction_sentence, contradictory_points, ground_order
from fourfold.priors.contracts import Cameras, Masks, Provenance


@dataclass(frozen=True)
class CameraConfig:
    """Numbers of camera estimation.

    Attributes:
        sfm: of structure from motion.
        rotation: of the rotation-only fit.
        checks: of the checks on the result.
        conflict: of the search for clusters at a contradictory depth.
        surely_turning: share of matches between distant frames that a pure rotation must explain for structure from motion not to be tried.
        perhaps_turning: share above which structure with less parallax than `min_parallax` is distrusted in favour of a rotation.
        min_parallax: degrees, median over the points of the angle between their first and last ray.
        min_registered: share of frames structure from motion must place to be believed.
    """

    sfm: SfmConfig = field(default_factory=SfmConfig)
    rotation: RotationConfig = field(default_factory=RotationConfig)
    checks: CheckConfig = field(default_factory=CheckConfig)
    conflict: ConflictConfig = field(default_factory=ConflictConfig)
    surely_turning: float = 0.93
    perhaps_turning: float = 0.65
    min_parallax: float = 2.5
    min_registered: float = 0.5


@dataclass(frozen=True)
class Solution:
    """One answer to where the cameras are, with what it rests on. K (V, T, 3, 3), world_to_camera (V, T, 4, 4), NaN where not present.

    suspects (N,): keypoints of clusters at a contradictory depth, or None.
    """

    source: CameraSource
    K: NDArray[np.float64]
    world_to_camera: NDArray[np.float64]
    structure: Structure | None
    turning: Turning | None
    guessed: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    suspects: NDArray[np.bool_] | None = None


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
    """The best answer for these keypoints: fixed, turning or travelling. `focal` (capture pixels) starts structure from motion."""
    turning = _turning(capture, features, keep, config) if capture.views == 1 else None
    if turning is not None and turning.still < config.rotation.still:
        return _standing(capture, turning, config)
    distant = _distant_share(turning)
    if turning is not None and distant >= config.surely_turning:
        return _turned(capture, turning, features, ())
    structure = _map(features, keep, config, focal)
    registered, parallax = float(structure.registered.mean()), parallax_degrees(structure)
    weak = registered < config.min_registered or (distant >= config.perhaps_turning and parallax < config.min_parallax)
    if not weak:
        return _travelled(capture, features, structure, turning, config)
    if turning is None:
        return _unknown(capture, registered)
    found = f"structure from motion placed {registered:.0%} of the frames with {parallax:.1f} degrees of parallax"
    doubt = "" if distant >= config.perhaps_turning else f", and a pure rotation explains only {distant:.0%} of the distant matches"
    return _turned(capture, turning, features, (f"{found}{doubt}: the camera is taken to have only turned, so depth cannot be known",))


def _map(features: Features, keep: NDArray[np.bool_], config: CameraConfig, focal: float | None) -> Structure:
    """Structure from motion; where its ground lies behind its walls, once more from another start, and the one that explains more."""
    structure = map_structure(features, keep, config.sfm, focal)
    if structure.registered.mean() < config.min_registered or ground_order(structure) > config.conflict.upside_down:
        return structure
    suspects = contradictory_points(structure, *_reach_of(features), config.conflict)
    rest = keep & ~keypoints_of(features, structure, suspects)
    other = map_structure(features, rest, replace(config.sfm, seed=config.sfm.seed + 1), focal)
    return other if len(other.observation_xy) > len(structure.observation_xy) else structure


def _reach_of(features: Features) -> tuple[int, int]:
    """Width and height that the keypoints span, pixels."""
    width, height = np.ceil(features.xy.max(axis=0)).astype(int)
    return int(width), int(height)


def cameras_of(solution: Solution, capture: Capture, extra_notes: tuple[str, ...] = (), extra_figures: dict[str, Any] | None = None) -> Cameras:
    """The `Cameras` prior of a solution."""
    structure = solution.structure
    points = structure.points.astype(np.float32) if structure else np.zeros((0, 3), np.float32)
    errors = structure.errors if structure else np.zeros(0, np.float32)
    lengths = structure.track_lengths.astype(np.int32) if structure else np.zeros(0, np.int32)
    figures = {"source": solution.source, "interpolated": [list(pair) for pair in solution.guessed]} | solution.figures | (extra_figures or {})
    provider = {"estimated": "pycolmap", "rotation": "rotation_only", "fixed": "standing_still"}[solution.source]
    return Cameras(
        Provenance(provider, notes=solution.notes + extra_notes, figures=figures), solution.K, solution.world_to_camera, points, errors, lengths
    )


def _turning(capture: Capture, features: Features, keep: NDArray[np.bool_], config: CameraConfig) -> Turning:
    width, height = (int(n) for n in capture.sizes[0])
    pairs = features.pairs[keep[features.pairs].all(axis=1)] if len(features.pairs) else features.pairs
    verified = verified_pairs(features.xy, features.image, pairs, max(width, height) / 640, config.rotation)
    return fit_turning(verified, len(features.view), width, height, config.rotation)


def _distant_share(turning: Turning | None) -> float:
    """Share of matches a rotation explains over the larger half of the gaps: parallax and motion grow with the gap, noise does not."""
    if turning is None or not turning.by_gap:
        return 0.0
    gaps = sorted(turning.by_gap)
    return float(np.mean([turning.by_gap[g] for g in gaps[len(gaps) // 2 :]]))


def _blank(capture: Capture) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    shape = (capture.views, capture.times)
    return np.full((*shape, 3, 3), np.nan), np.full((*shape, 4, 4), np.nan)


def _pinhole(focal: float, width: int, height: int) -> NDArray[np.float64]:
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])


def _standing(capture: Capture, turning: Turning, config: CameraConfig) -> Solution:
    K, poses = _blank(capture)
    width, height = (int(n) for n in capture.sizes[0])
    K[0], poses[0] = _pinhole(config.rotation.focal_default * width, width, height), np.eye(4)
    note = (
        f"the camera stood still (background motion {turning.still:.1f} px at 640 px image size): neither depth nor focal length can be known, "
        f"a field of view of {_field_of_view(config.rotation.focal_default):.0f} degrees is assumed"
    )
    fallback(note)
    return Solution("fixed", K, poses, None, turning, notes=(note,), figures=_turning_figures(turning))


def _turned(capture: Capture, turning: Turning, features: Features, notes: tuple[str, ...]) -> Solution:
    K, poses = _blank(capture)
    width, height = (int(n) for n in capture.sizes[0])
    placed = {int(t): np.eye(4) for t in features.time}
    for row, t in enumerate(features.time):
        placed[int(t)][:3, :3] = turning.rotations[row]
    filled, guessed = fill_missing_poses(capture, 0, placed, None, None)
    K[0], poses[0] = _pinhole(turning.focal, width, height), filled
    focal = f"{turning.focal / width:.2f} image widths" + ("" if turning.focal_known else " (assumed: the turn is too small to tell)")
    note = (
        f"the camera only turned ({turning.turn:.1f} degrees; a pure rotation explains {turning.explained:.0%} of the matches), so depth cannot be "
        f"known; focal length {focal}"
    )
    fallback(note)
    return Solution("rotation", K, poses, None, turning, tuple((0, t) for t in guessed), (*notes, note), _turning_figures(turning))


def _travelled(capture: Capture, features: Features, structure: Structure, turning: Turning | None, config: CameraConfig) -> Solution:
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
    floating = contradictory_points(structure, *_reach_of(features), config.conflict)
    order = ground_order(structure)
    notes = (*notes, *contradiction_sentence(structure, floating))
    if order < config.conflict.upside_down:
        notes = (*notes, "check: the lower parts of the images are farther away than the upper ones, which is unusual: look at the sparse points")
    figures |= {"contradictory_points": int(floating.sum()), "ground_order": round(order, 3)} | (_turning_figures(turning) if turning else {})
    suspects = keypoints_of(features, structure, floating)
    return Solution("estimated", K, poses, structure, turning, tuple(guessed), notes, figures, suspects)


def mean_pose(poses: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """(4, 4) the one pose of a camera that stands still: mean rotation and median centre of its estimates."""
    stack = np.stack(poses)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_matrix(stack[:, :3, :3]).mean().as_matrix()
    pose[:3, 3] = -pose[:3, :3] @ np.median(camera_centres(stack), axis=0)
    return pose


def _unknown(capture: Capture, registered: float) -> Solution:
    """Several views whose cameras cannot be found: all in one place, said loudly."""
    K, poses = _blank(capture)
    for view in range(capture.views):
        width, height = (int(n) for n in capture.sizes[view])
        K[view], poses[view] = _pinhole(float(width), width, height), np.eye(4)
    note = f"structure from motion placed only {registered:.0%} of the images of {capture.views} cameras: give their calibration"
    fallback(note)
    return Solution("fixed", K, poses, None, None, notes=(note,), figures={})


def _turning_figures(turning: Turning) -> dict[str, Any]:
    return {
        "rotation_explains": round(turning.explained, 3),
        "rotation_explains_by_gap": {str(k): round(v, 3) for k, v in turning.by_gap.items()},
        "turn_degrees": round(turning.turn, 2),
        "background_motion_px_at_640": round(turning.still, 2),
    }


def _field_of_view(focal_widths: float) -> float:
    return float(np.degrees(2 * np.arctan(0.5 / focal_widths)))
