"""Masks of what moves, given cameras: evidence from flow, matches, sweep or a still background, then sharp outlines."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.classical.camera_checks import camera_centres, point_depths
from fourfold.priors.classical.flow import Field
from fourfold.priors.classical.mask_refine import RefineConfig, keep_seen_moving, refine_masks, with_band
from fourfold.priors.classical.motion_evidence import EvidenceConfig, dense_evidence, soft_excess, sparse_evidence
from fourfold.priors.classical.sfm import Features, Structure
from fourfold.priors.classical.sweep_evidence import SweepEvidenceConfig, sweep_evidence
from fourfold.priors.contracts import Masks, Provenance
from fourfold.priors.given import given_masks


@dataclass(frozen=True)
class MaskConfig:
    """Numbers of the motion masks.

    Attributes:
        evidence: of flow and matches.
        sweep: of the plane-sweep consistency test.
        refine: of the outlines.
        flow_covers: share of pixels with trusted flow below which the plane sweep is asked as well.
        standing: camera travel over scene depth below which a view counts as not travelling.
        rest: weight of the assumption that a pixel without evidence rests.
        change: colour difference to the still background, of 255, at evidence 0.5.
    """

    evidence: EvidenceConfig = field(default_factory=EvidenceConfig)
    sweep: SweepEvidenceConfig = field(default_factory=SweepEvidenceConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)
    flow_covers: float = 0.75
    standing: float = 0.002
    rest: float = 0.1
    change: float = 24.0


def motion_masks(capture: Capture, features: Features | None = None, structure: Structure | None = None, config: MaskConfig = MaskConfig()) -> Masks:
    """Moving-object masks of every present frame whose camera is known; masks that the capture brought are used as they are.

    Args:
        capture: with cameras (given or estimated).
        features, structure: of the structure from motion that found the cameras; more evidence where there.
    """
    if any(capture.has("masks", view) for view in range(capture.views)):
        return given_masks(capture)
    masks, used = [], set()
    for view in range(capture.views):
        evidence, names = view_evidence(capture, view, features, structure, config)
        used |= names
        present = np.flatnonzero(capture.present[view])
        result = np.zeros(evidence.shape, np.int8)
        images = [np.asarray(capture.image(view, int(t))) for t in present]
        if names:
            found = refine_masks(evidence[present], images, capture.train[view, present], config.refine)
            for t, mask in zip(present, found, strict=True):
                result[t] = with_band(mask, config.refine)
        masks.append(result)
    shares = [float((m[capture.train[v]] > 0).mean()) for v, m in enumerate(masks) if capture.train[v].any()]
    share = float(np.mean(shares)) if shares else 0.0
    notes = () if share > 0 else ("nothing was found to move against the camera: the motion masks are empty",)
    return Masks(Provenance("motion", notes=notes, figures={"moving_share": round(share, 4), "evidence": sorted(used)}), tuple(masks))


def view_evidence(
    capture: Capture, view: int, features: Features | None, structure: Structure | None, config: MaskConfig = MaskConfig()
) -> tuple[Field, set[str]]:
    """Combined evidence (T, H, W) in [0, 1] of one view and the kinds of evidence it rests on (none where nothing can be said)."""
    width, height = (int(n) for n in capture.sizes[view])
    known = np.isfinite(capture.world_to_camera[view]).all((1, 2)) & capture.train[view]
    blank = np.zeros((capture.times, height, width), np.float32)
    if known.sum() < 2:
        return blank, set()
    poses = capture.world_to_camera[view, known]
    if capture.views > 1 and np.abs(poses - poses[0]).max() < 1e-6:
        return still_background_evidence(capture, view, config), {"still background"}
    nearest, depth = _nearest_depth(capture, view, structure)
    travel = np.linalg.norm(camera_centres(poses) - camera_centres(poses)[:1], axis=1).max()
    turning = capture.cameras in ("rotation", "fixed") or travel < config.standing * depth
    kinds = {"flow"}
    *dense, gain = dense_evidence(capture, view, turning, nearest, config.evidence)
    parts = [(dense[0], dense[1])]
    covered = float(parts[0][1][known].mean())
    if features is not None:
        parts.append(sparse_evidence(capture, view, features, None if turning else structure, nearest, config.evidence))
        kinds.add("matches")
    if covered < config.flow_covers and not turning:
        points = structure.points.astype(np.float32) if structure is not None else np.zeros((0, 3), np.float32)
        parts.append(sweep_evidence(capture, view, points, config.sweep))
        kinds.add("plane sweep")
    total, weight = blank, blank + np.float32(config.rest)
    for part, sure in parts:
        total, weight = total + part * sure, weight + sure
    evidence = total / weight
    if "plane sweep" not in kinds:
        evidence = np.stack([keep_seen_moving(e, g, config.refine) for e, g in zip(evidence, gain, strict=True)])
    return evidence, kinds


def still_background_evidence(capture: Capture, view: int, config: MaskConfig = MaskConfig()) -> Field:
    """(T, H, W) evidence of a camera that stands still: colour difference to the median over the training frames."""
    train = np.flatnonzero(capture.train[view] & capture.present[view])
    chosen = train[np.unique(np.linspace(0, len(train) - 1, min(25, len(train))).round().astype(int))]
    plate = np.median(np.stack([capture.image(view, int(t)) for t in chosen]), axis=0).astype(np.float32)
    width, height = (int(n) for n in capture.sizes[view])
    evidence = np.zeros((capture.times, height, width), np.float32)
    for t in np.flatnonzero(capture.present[view]):
        difference = np.abs(capture.image(view, int(t)).astype(np.float32) - plate).max(axis=-1)
        evidence[t] = soft_excess(cv2.GaussianBlur(difference, (0, 0), 1.0) / config.change)
    return evidence


def _nearest_depth(capture: Capture, view: int, structure: Structure | None) -> tuple[float, float]:
    """A depth nothing is nearer than, and a typical depth; from the sparse points or, without them, from the camera's travel."""
    if structure is not None and len(structure.points):
        depths = point_depths(structure)
        return 0.5 * float(np.percentile(depths, 1)), float(np.median(depths))
    centres = camera_centres(capture.world_to_camera[view][np.isfinite(capture.world_to_camera[view]).all((1, 2))])
    reach = float(np.linalg.norm(centres - centres.mean(0), axis=1).max())
    everywhere = _scene_reach(capture)
    return max(0.25 * reach, 1e-6), max(everywhere, reach, 1e-6)


def _scene_reach(capture: Capture) -> float:
    """Largest distance between camera centres over all views, scene units."""
    poses: NDArray[np.float64] = capture.world_to_camera[np.isfinite(capture.world_to_camera).all((2, 3))]
    centres = camera_centres(poses)
    return float(np.linalg.norm(centres - centres.mean(0), axis=1).max())
