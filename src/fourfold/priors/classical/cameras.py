"""Cameras and masks together: cameras from everything, masks from what contradicts them, cameras again without it, masks again.

Source: spec calibration.md section E ("SfM -> mask -> masked SfM, and check the geometry").
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.notices import fallback
from fourfold.priors.classical.camera_checks import check_passes
from fourfold.priors.classical.camera_solution import CameraConfig, Solution, cameras_of, outside_masks, solve
from fourfold.priors.classical.motion_masks import MaskConfig, motion_masks
from fourfold.priors.classical.sfm import Features, extract_features
from fourfold.priors.contracts import Cameras, Masks
from fourfold.priors.given import given_cameras, given_masks


@dataclass(frozen=True)
class TwoPassConfig:
    """Numbers of the two passes.

    Attributes:
        cameras: of each camera pass.
        masks: of each mask pass.
        worth: share of keypoints on movers above which the second pass is made; below it the first pass stands.
    """

    cameras: CameraConfig = field(default_factory=CameraConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    worth: float = 0.01


def estimate_cameras(capture: Capture, masks: Masks | None = None, config: CameraConfig = CameraConfig()) -> Cameras:
    """Cameras of every present frame, from the parts of the images that `masks` does not call moving; given cameras are kept.

    Never fails because the images are hard: the best honest answer is returned, its `source` figure and its notes say what it is worth.
    Source: spec calibration.md section E.
    """
    if capture.cameras == "given":
        return given_cameras(capture)
    with tempfile.TemporaryDirectory(prefix="fourfold-sfm-") as job:
        features = extract_features(capture, Path(job), config.sfm)
        solution = solve(capture, features, outside_masks(features, masks), config)
    return cameras_of(solution, capture)


def cameras_and_masks(capture: Capture, config: TwoPassConfig = TwoPassConfig()) -> tuple[Cameras, Masks]:
    """Cameras and motion masks of a capture; given cameras and given masks are kept.

    Never fails because the images are hard, see `estimate_cameras`.
    """
    if capture.cameras == "given":
        return given_cameras(capture), motion_masks(capture, config=config.masks)
    has_masks = any(capture.has("masks", view) for view in range(capture.views))
    with tempfile.TemporaryDirectory(prefix="fourfold-sfm-") as job:
        features = extract_features(capture, Path(job), config.cameras.sfm)
        if has_masks:
            masks = given_masks(capture)
            solution = solve(capture, features, outside_masks(features, masks), config.cameras)
            return cameras_of(solution, capture), masks
        first = solve(capture, features, np.ones(len(features.xy), bool), config.cameras)
        masks = _masks(capture, features, first, config)
        keep = outside_masks(features, masks)
        if first.suspects is not None:
            keep &= ~first.suspects
        if keep.mean() > 1 - config.worth:
            return cameras_of(first, capture, extra_figures={"passes": 1}), masks
        second = solve(capture, features, keep, config.cameras)
        if capture.views > 1 and _placed(second) < _placed(first):
            note = ("structure from motion places fewer images without what moves than with it: the cameras of the unmasked pass are used",)
            return cameras_of(first, capture, note, {"passes": 1}), masks
        notes = _compare(first, second)
        return cameras_of(second, capture, notes, {"passes": 2}), _masks(capture, features, second, config)


def _placed(solution: Solution) -> int:
    """How many images structure from motion placed; between several cameras a failure is no answer, unlike that of one that stood still."""
    return int(solution.structure.registered.sum()) if solution.structure is not None else 0


def _masks(capture: Capture, features: Features, solution: Solution, config: TwoPassConfig) -> Masks:
    posed = capture.with_cameras(solution.K, solution.world_to_camera, solution.source)
    return motion_masks(posed, features, solution.structure if solution.source == "estimated" else None, config.masks)


def _compare(first: Solution, second: Solution) -> tuple[str, ...]:
    if first.source != second.source:
        return (f"the unmasked pass took the camera for {first.source!r}, the masked one for {second.source!r}; the masked one is used",)
    if second.source != "estimated":
        return ()
    notes = check_passes(float(np.nanmedian(first.K[..., 0, 0])), float(np.nanmedian(second.K[..., 0, 0])))
    for note in notes:
        fallback(note)
    return notes
