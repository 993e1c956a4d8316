"""Dense shape of a moving object: plane sweep in the object's own frame, where leaving the mask costs. Source: spec calibration.md section E."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.depth.fill import pull_push, splat_nearest
from fourfold.priors.depth.sweep_cost import SweepConfig, SweepImage, features_of
from fourfold.priors.depth.sweep_references import Swept, confidence_of, sweep_reference, unproject
from fourfold.priors.depth.sweep_views import Source

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ObjectSweepConfig:
    """Numbers of the object sweep.

    Attributes:
        sweep: the sweep itself.
        references: images swept.
        neighbours: images each is compared with.
        leaving_cost: cost of a pixel that would leave the mask in another image.
        margin: how far beyond the sparse points the range of depths goes, in object extents.
        known_confidence: pixels below it are filled from their surroundings.
        points: dense points kept on the object.
    """

    sweep: SweepConfig = field(default_factory=lambda: SweepConfig(planes=64))
    references: int = 9
    neighbours: int = 8
    leaving_cost: float = 0.6
    margin: float = 0.5
    known_confidence: float = 0.25
    points: int = 4000


@dataclass(frozen=True)
class ObjectShape:
    """Dense object: points (N, 3) in the object's frame, color (N, 3) in [0, 1], spacing (N,), seen_from (N,) index of the reference frame.

    `confident` is the share of the swept pixels that other references confirmed.
    """

    points: Array
    color: NDArray[np.float32]
    spacing: Array
    seen_from: NDArray[np.int64]
    confident: float


def sweep_object(
    capture: Capture,
    view: int,
    times: Sequence[int],
    masks: NDArray[np.bool_],
    object_to_camera: Array,
    sparse: Array,
    config: ObjectSweepConfig = ObjectSweepConfig(),
) -> ObjectShape | None:
    """Dense points of one object.

    Args:
        times: (F,) time indices of the frames.
        masks: (F, H, W) the object's mask.
        object_to_camera: (F, 4, 4), NaN where unknown.
        sparse: (P, 3) sparse points in the object's frame; they give the range of depths.

    Returns:
        None if no reference could be swept.
    """
    known = [i for i in range(len(times)) if np.isfinite(object_to_camera[i]).all() and masks[i].sum() > 30]
    if len(known) < 3:
        return None
    sources = [_source(capture, view, times[i], masks[i], object_to_camera[i], config.sweep) for i in known]
    references = np.unique(np.linspace(0, len(sources) - 1, min(config.references, len(sources))).round().astype(int))
    swept: list[Swept] = []
    frames: list[int] = []
    for index in references:
        ends = _range(sources[index], sparse, config.margin)
        result = sweep_reference(sources, int(index), ends, config.neighbours, config.sweep, config.leaving_cost, max_angle=0.6)
        if result is not None:
            swept.append(result)
            frames.append(known[int(index)])
    if not swept:
        return None
    sure = [confidence_of(swept, i) for i in range(len(swept))]
    return _merge(swept, sure, frames, config)


def object_depth(shape_points: Array, pose: Array, K: Array, mask: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Depth (H, W) of an object inside its mask in object units, from its points, and where points fell; the rest of the mask is filled."""
    height, width = mask.shape
    camera = shape_points @ pose[:3, :3].T + pose[:3, 3]
    pixel = camera @ K.T
    drawn = splat_nearest(pixel[:, :2] / np.where(np.abs(pixel[:, 2:]) > 1e-9, pixel[:, 2:], np.nan), camera[:, 2], height, width)
    depth, hit = _mean_on_surface(pixel[:, :2] / np.where(pixel[:, 2:] > 1e-9, pixel[:, 2:], np.nan), camera[:, 2], drawn)
    hit &= mask
    if not hit.any():
        middle = float(np.median(camera[:, 2]))
        return np.where(mask, max(middle, 1e-6), 0).astype(np.float32), hit
    inverse = pull_push(1 / np.maximum(depth, 1e-9), hit)
    inverse = cv2.GaussianBlur(inverse, (0, 0), 1.0) * ~hit + inverse * hit
    return np.where(mask, 1 / np.maximum(inverse, 1e-9), 0).astype(np.float32), hit


def _mean_on_surface(xy: Array, depth: Array, front: NDArray[np.float32], slack: float = 0.03) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Mean depth per pixel of the points within `slack` of the frontmost ones: unlike the frontmost depth it is not too near on slopes."""
    height, width = front.shape
    usable = np.isfinite(xy).all(axis=1) & (xy >= 0).all(axis=1) & (xy[:, 0] < width) & (xy[:, 1] < height)
    column, row = xy[usable].astype(int).T
    near = depth[usable] <= (1 + slack) * front[row, column]
    place = (row * width + column)[near]
    count = np.bincount(place, minlength=height * width).reshape(height, width)
    total = np.bincount(place, depth[usable][near], height * width).reshape(height, width)
    return (total / np.maximum(count, 1)).astype(np.float32), count > 0


def _source(capture: Capture, view: int, time: int, mask: NDArray[np.bool_], pose: Array, config: SweepConfig) -> Source:
    """The part of a frame around the mask, with the intrinsics of that part."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    margin = 2 * config.patch
    top, left = max(int(rows[0]) - margin, 0), max(int(columns[0]) - margin, 0)
    part = (slice(top, int(rows[-1]) + margin + 1), slice(left, int(columns[-1]) + margin + 1))
    colour = np.ascontiguousarray(np.asarray(capture.image(view, time))[part])
    valid = np.where(mask[part], 255, 0).astype(np.uint8)
    K = capture.K[view, time].copy()
    K[:2, 2] -= left, top
    return Source(((view, time),), colour, SweepImage(features_of(colour, config), valid, K, pose))


def _range(source: Source, sparse: Array, margin: float) -> tuple[float, float]:
    depth = sparse @ source.image.pose[2, :3] + source.image.pose[2, 3]
    low, high = np.percentile(depth, [2, 98])
    width = float(np.percentile(np.linalg.norm(sparse - np.median(sparse, axis=0), axis=1), 90))
    reach = margin * max(width, float(high - low))
    return 1 / (float(high) + reach), 1 / max(float(low) - reach, 0.2 * float(low))


def _merge(swept: Sequence[Swept], sure: Sequence[NDArray[np.float32]], frames: Sequence[int], config: ObjectSweepConfig) -> ObjectShape:
    """Points of all references, the confident ones first, thinned to about the wanted number on a grid in the object's frame."""
    points, color, frame, quality = [], [], [], []
    inside_count, sure_count = 0, 0
    for own, confidence, index in zip(swept, sure, frames, strict=True):
        mask = cv2.erode(own.source.image.valid, np.ones((3, 3), np.uint8)) > 0
        known = (confidence > config.known_confidence) & mask
        inside_count, sure_count = inside_count + int(mask.sum()), sure_count + int(known.sum())
        inverse = pull_push(own.inverse, known) if known.any() else own.inverse
        world = unproject(1 / np.maximum(inverse, 1e-9), own.source.image.K, own.source.image.pose)
        points.append(world[mask])
        color.append(own.source.colour[mask].astype(np.float32) / 255)
        frame.append(np.full(int(mask.sum()), index))
        quality.append(confidence[mask] * known[mask])
    all_points, all_color = np.concatenate(points), np.concatenate(color)
    all_frames, all_quality = np.concatenate(frame), np.concatenate(quality)
    keep, cell = _thin(all_points, all_quality, config.points)
    spacing = np.full(len(keep), cell)
    return ObjectShape(all_points[keep], all_color[keep], spacing, all_frames[keep], sure_count / max(inside_count, 1))


def _thin(points: Array, quality: NDArray[np.float32], wanted: int) -> tuple[NDArray[np.int64], float]:
    """Indices of the best point of each cell of a grid whose size leaves about `wanted` points, and the size."""
    order = np.argsort(-quality, kind="stable")
    extent = float(np.linalg.norm(np.percentile(points, 97, axis=0) - np.percentile(points, 3, axis=0)))
    low, high = extent / 2000, extent
    kept = order
    for _ in range(18):
        cell = float(np.sqrt(low * high))
        _, first = np.unique(np.floor(points[order] / cell).astype(np.int64), axis=0, return_index=True)
        kept = order[first]
        low, high = (cell, high) if len(kept) > wanted else (low, cell)
    return np.sort(kept), float(np.sqrt(low * high))
