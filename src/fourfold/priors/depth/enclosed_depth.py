"""Static depth for rigs that surround a scene: the plane sweep where it is sure, the enclosing surface elsewhere.

Blank walls cannot be matched, and what is filled in around wrong matches floats before them (spec calibration.md B: 0.8 dB, and 4 dB
at a close camera). All cameras' sure points together say where the room ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.reduced import reduce_capture
from fourfold.priors.contracts import Cameras, Depth, Masks, Priors, Provenance
from fourfold.priors.depth.enclosure import EnclosureNumbers, fit_enclosure
from fourfold.priors.depth.plane_sweep import static_depth
from fourfold.priors.depth.rig import stage_of
from fourfold.priors.depth.sweep_references import unproject
from fourfold.priors.depth.sweep_views import usable_frames
from fourfold.priors.depth_range import near_far
from fourfold.priors.providers import Provider


@dataclass(frozen=True)
class EnclosedDepthNumbers:
    """How the two are put together.

    Attributes:
        enclosure: the fit.
        sure: confidence from which a swept depth counts.
        points: most points that the surface is fitted to.
        agree: relative difference in inverse depth up to which a swept pixel is taken for the surface.
        object_sure: confidence from which swept pixels before the surface count (not reached by what was only projected from other images).
        object_share: those are kept where they form a connected part of at least this share of the image.
        surface_confidence: confidence given to the surface.
        least_arc: viewing directions must differ by this angle, radians.
        fewest: points without which there is no surface.
        width: pixels; the sweep looks at images of at most this width, for a wall has no detail in depth.
    """

    enclosure: EnclosureNumbers = field(default_factory=EnclosureNumbers)
    sure: float = 0.25
    points: int = 30_000
    agree: float = 0.06
    object_sure: float = 0.65
    object_share: float = 0.004
    surface_confidence: float = 0.5
    least_arc: float = 1.6
    fewest: int = 500
    width: int = 400


def enclosed_depth(capture: Capture, masks: Masks, cameras: Cameras | None, numbers: EnclosedDepthNumbers = EnclosedDepthNumbers()) -> Depth:
    """Depth of the static world in every training frame; the plane sweep's own where too few points are sure.

    `provenance.figures` has those of the plane sweep and "surface_points", "surface_fit" (median relative misfit of the sure points).
    """
    swept = _swept(capture, masks, cameras, numbers.width)
    stage = stage_of(capture)
    groups = _groups(capture)
    points, weight = _sure_points(capture, swept, groups, numbers)
    if stage is None or len(points) < numbers.fewest:
        return swept
    surface = fit_enclosure(points, weight, stage.center, numbers.enclosure)
    misfit = np.abs(surface.inside(points))
    depth, confidence = [np.array(d) for d in swept.depth], [np.asarray(c).astype(np.float16) for c in swept.confidence]
    for view, indices in groups:
        first = indices[0]
        height, width = depth[view].shape[1:]
        wall = surface.depth(capture.K[view, first], capture.world_to_camera[view, first], height, width)
        joined, sure = _joined(depth[view][first], np.asarray(confidence[view][first], np.float32), wall, numbers)
        for index in indices:
            depth[view][index], confidence[view][index] = joined, sure
    near, far = near_far(Depth(swept.provenance, tuple(depth), tuple(confidence)))
    figures = swept.provenance.figures | {
        "near": near,
        "far": far,
        "surface_points": len(points),
        "surface_fit": round(float(np.median(misfit)), 5),
    }
    return Depth(Provenance("enclosed_sweep", figures=figures), tuple(depth), tuple(confidence))


def _swept(capture: Capture, masks: Masks, cameras: Cameras | None, width: int) -> Depth:
    """The plane sweep of images of at most `width` pixels, at the size of the capture's images."""
    small = reduce_capture(capture, width)
    if small is capture:
        return static_depth(capture, masks, cameras)
    less = Masks(masks.provenance, tuple(_sized(m, small.sizes[v]) for v, m in enumerate(masks.mask)))
    swept = static_depth(small, less, cameras)
    depth = tuple(_sized(np.asarray(d, np.float32), capture.sizes[v]) for v, d in enumerate(swept.depth))
    sure = tuple(_sized(np.asarray(c, np.float32), capture.sizes[v]) for v, c in enumerate(swept.confidence))
    return Depth(swept.provenance, depth, sure)


def _sized(stack: NDArray[Any], size: NDArray[np.integer]) -> NDArray[Any]:
    """(T, H, W) at another `size`, width and height, by nearest pixel."""
    width, height = (int(n) for n in size)
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_NEAREST) for frame in stack])


def _groups(capture: Capture) -> list[tuple[int, list[int]]]:
    """(view, time indices with the same camera) of all training frames."""
    groups: dict[tuple[int, bytes], list[int]] = {}
    for view, index in usable_frames(capture):
        pose = np.concatenate([capture.world_to_camera[view, index].ravel(), capture.K[view, index].ravel()])
        groups.setdefault((view, np.round(pose, 6).tobytes()), []).append(index)
    return [(view, indices) for (view, _), indices in groups.items()]


def _sure_points(
    capture: Capture, swept: Depth, groups: list[tuple[int, list[int]]], numbers: EnclosedDepthNumbers
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """World points (N, 3) of the confident pixels of all cameras, evenly thinned, and their confidence (N,)."""
    points, weight = [np.zeros((0, 3))], [np.zeros(0)]
    for view, indices in groups:
        first = indices[0]
        depth, sure = np.asarray(swept.depth[view][first], np.float64), np.asarray(swept.confidence[view][first], np.float64)
        good = (sure > numbers.sure) & (depth > 0)
        points.append(unproject(np.where(depth > 0, depth, 1.0), capture.K[view, first], capture.world_to_camera[view, first])[good])
        weight.append(sure[good])
    every, trust = np.concatenate(points), np.concatenate(weight)
    step = max(1, len(every) // numbers.points)
    return every[::step], trust[::step]


def _joined(
    depth: NDArray[np.float32], confidence: NDArray[np.float32], wall: NDArray[np.float32], numbers: EnclosedDepthNumbers
) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
    """Depth and confidence (H, W): swept where sure and on the wall or part of something large before it, the wall elsewhere."""
    known = (depth > 0) & (confidence > numbers.sure)
    ratio = np.where(known, wall / np.maximum(depth, 1e-9), 1.0)
    on_wall = known & (np.abs(ratio - 1) <= numbers.agree)
    before = (known & (confidence > numbers.object_sure) & (ratio > 1 + numbers.agree)).astype(np.uint8)
    _, label, statistics, _ = cv2.connectedComponentsWithStats(before, connectivity=4)
    large = statistics[:, cv2.CC_STAT_AREA] >= numbers.object_share * depth.size
    large[0] = False
    kept = on_wall | large[label]
    sure = np.where(kept, np.maximum(confidence, numbers.surface_confidence), numbers.surface_confidence)
    return np.where(kept, depth, wall).astype(np.float32), sure.astype(np.float16)


def _missing(capture: Capture) -> str | None:
    stage = stage_of(capture)
    if stage is None or stage.views < 4 or stage.arc < EnclosedDepthNumbers().least_arc:
        return ""
    if any(capture.has("depth", v) for v in range(capture.views)) or any(capture.has("alpha", v) for v in range(capture.views)):
        return ""
    return None


def _make(capture: Capture, priors: Priors) -> list[Depth]:
    return [enclosed_depth(capture, priors.require(Masks), priors.cameras)]


PROVIDERS = (Provider("enclosed_sweep", ("depth",), ("masks", "cameras"), 30, _missing, _make, version=2),)
