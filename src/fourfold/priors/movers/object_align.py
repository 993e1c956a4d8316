"""Aligning a moving object between far-apart frames by an affine map: silhouette and texture, coarse to fine, from mask moments.

For captures whose frames are so far apart that optical flow locks onto repeated texture (spec calibration.md section A).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.priors.tracking.track_step import MatchConfig, Points, correlation, grey_of, match, patches

Array = NDArray[np.float64]


@dataclass(frozen=True)
class AlignConfig:
    """Numbers of the alignment.

    Attributes:
        size: the object's larger side is brought to this many pixels for the alignment.
        blurs: widths of the blurs, coarse to fine, pixels of that size.
        iterations: steps per blur.
        texture: weight of the texture against the silhouette.
        least_correlation: alignments below it are not trusted.
        points: grid points tracked on the object.
        patch_correlation: correlation of a tracked patch below which it counts as hidden.
        match: refinement of single points.
    """

    size: int = 112
    blurs: tuple[float, ...] = (8.0, 3.0, 1.0)
    iterations: int = 40
    texture: float = 0.6
    least_correlation: float = 0.7
    points: int = 2500
    patch_correlation: float = 0.6
    match: MatchConfig = field(default_factory=lambda: MatchConfig(window=17))


@dataclass(frozen=True)
class AlignedTracks:
    """Points of the reference frame found in all frames.

    Attributes:
        xy: (P, F, 2) pixels; visible: (P, F) bool; affine: (F, 2, 3) from reference pixels to those of frame f (pixel centres at +0.5);
        correlation: (F,) of the aligned images; reference: index of the reference frame.
    """

    xy: Points
    visible: NDArray[np.bool_]
    affine: Array
    correlation: Array
    reference: int


def align_object(images: list[NDArray[np.uint8]], masks: NDArray[np.bool_], config: AlignConfig = AlignConfig()) -> AlignedTracks | None:
    """Align one object in F frames, given as (H, W, 3) uint8 images and (F, H, W) masks; None if no frame shows it well."""
    area = masks.sum(axis=(1, 2))
    shown = np.flatnonzero(area > 60)
    if len(shown) < 2:
        return None
    inner = ~_touches_border(masks[shown])
    candidates = shown[inner] if inner.any() else shown
    reference = int(candidates[np.argmin(np.abs(candidates - len(masks) / 2) / len(masks) - 0.5 * area[candidates] / area.max())])
    rows, columns = np.nonzero(masks[reference])
    factor = min(1.0, config.size / max(np.ptp(rows) + 1, np.ptp(columns) + 1))
    small = [_composite(images[f], masks[f], factor, config.texture) for f in range(len(images))]
    affine = np.tile(np.eye(2, 3), (len(images), 1, 1))
    quality = np.zeros(len(images))
    quality[reference] = 1
    for step in (1, -1):
        before = reference
        for frame in (f for f in (shown if step > 0 else shown[::-1]) if (f - reference) * step > 0):
            starts = [*_moment_maps(masks[reference], masks[frame]), _follow(affine[before], masks[before], masks[frame])]
            affine[frame], quality[frame] = _best_alignment(small[reference], small[frame], starts, factor, config)
            before = int(frame) if quality[frame] >= config.least_correlation else before
    xy, visible = _refine(images, masks, affine, quality, reference, config)
    return AlignedTracks(xy, visible, affine, quality, reference)


def _touches_border(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return masks[:, 0].any(axis=1) | masks[:, -1].any(axis=1) | masks[:, :, 0].any(axis=1) | masks[:, :, -1].any(axis=1)


def _composite(image: NDArray[np.uint8], mask: NDArray[np.bool_], factor: float, texture: float) -> NDArray[np.float32]:
    grey = grey_of(image).astype(np.float32) / 255
    middle = float(grey[mask].mean()) if mask.any() else 0.5
    drawn = np.where(mask, 1 + 3 * texture * (grey - middle), 0).astype(np.float32)
    return cv2.resize(drawn, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def _moments(mask: NDArray[np.bool_]) -> tuple[Array, float, Array]:
    rows, columns = np.nonzero(mask)
    centre = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
    values, vectors = np.linalg.eigh(np.cov(np.stack([columns, rows])))
    axis = vectors[:, 1]
    return centre, float(np.arctan2(axis[1], axis[0])), np.sqrt(np.maximum(values, 1e-6))


def _moment_maps(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> list[Array]:
    """Similarities from one mask to another: same orientation, and principal axes matched in both directions."""
    centre, angle, size = _moments(first)
    there, turned, larger = _moments(second)
    scale = float(np.sqrt(larger.prod() / size.prod()))
    turn = (turned - angle + np.pi / 2) % np.pi - np.pi / 2
    maps = []
    for theta in (0.0, turn, turn + np.pi):
        linear = scale * np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
        maps.append(np.concatenate([linear, (there - linear @ centre)[:, None]], axis=1))
    return maps


def _follow(affine: Array, before: NDArray[np.bool_], now: NDArray[np.bool_]) -> Array:
    moved = affine.copy()
    moved[:, 2] += _moments(now)[0] - _moments(before)[0]
    return moved


def _best_alignment(
    first: NDArray[np.float32], second: NDArray[np.float32], starts: list[Array], factor: float, config: AlignConfig
) -> tuple[Array, float]:
    """Refine every start at the coarsest blur, carry the best two to the finest; returns the map in full-size pixels and its correlation."""
    scored = []
    for start in starts:
        scaled = start.copy()
        scaled[:, 2] *= factor
        scored.append(_refined(first, second, scaled, config.blurs[0], config.iterations))
    scored.sort(key=lambda s: -s[1])
    finished = []
    for warp, _ in scored[:2]:
        result = (warp, -1.0)
        for blur in config.blurs[1:]:
            result = _refined(first, second, result[0], blur, config.iterations)
        finished.append(result)
    warp, quality = max(finished, key=lambda s: s[1])
    full = warp.copy()
    full[:, 2] /= factor
    return full, quality


def _refined(first: NDArray[np.float32], second: NDArray[np.float32], start: Array, blur: float, iterations: int) -> tuple[Array, float]:
    """Enhanced-correlation alignment (Evangelidis and Psarakis 2008); the start itself where it diverges. Maps use centres at +0.5."""
    a, b = cv2.GaussianBlur(first, (0, 0), blur), cv2.GaussianBlur(second, (0, 0), blur)
    shift = np.array([0.5, 0.5])
    warp = start.copy()
    warp[:, 2] += warp[:, :2] @ shift - shift
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, iterations, 1e-4)
    try:
        _, moved = cv2.findTransformECC(a, b, warp.astype(np.float32), cv2.MOTION_AFFINE, criteria, None, 1)
        moved = moved.astype(np.float64)
    except cv2.error:  # the iteration left the image: keep the start
        moved = warp
    area = abs(float(np.linalg.det(moved[:, :2])))
    if not 0.1 < area < 10:
        moved = warp
    drawn = cv2.warpAffine(b, moved, (a.shape[1], a.shape[0]), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    x, y = drawn.ravel() - drawn.mean(), a.ravel() - a.mean()
    quality = float((x * y).sum() / max(float(np.linalg.norm(x) * np.linalg.norm(y)), 1e-9))
    result = moved.copy()
    result[:, 2] -= moved[:, :2] @ shift - shift
    return result, quality


def _refine(
    images: list[NDArray[np.uint8]], masks: NDArray[np.bool_], affine: Array, quality: Array, reference: int, config: AlignConfig
) -> tuple[Points, NDArray[np.bool_]]:
    """Track a grid of the reference into every frame, brought into the reference's shape by the affine map first."""
    height, width = masks.shape[1:]
    stride = max(2, int(np.sqrt(masks[reference].sum() / config.points)))
    rows, columns = np.meshgrid(np.arange(stride // 2, height, stride), np.arange(stride // 2, width, stride), indexing="ij")
    inside = cv2.erode(masks[reference].astype(np.uint8), np.ones((3, 3), np.uint8))[rows, columns] > 0
    points = np.stack([columns[inside], rows[inside]], axis=1).astype(np.float32) + np.float32(0.5)
    greys = [grey_of(i) for i in images]
    template = patches(greys[reference], points, config.match.patch)
    xy = np.repeat(points[:, None], len(images), axis=1)
    visible = np.zeros((len(points), len(images)), bool)
    visible[:, reference] = True
    for frame in range(len(images)):
        xy[:, frame] = points @ affine[frame, :, :2].T.astype(np.float32) + affine[frame, :, 2].astype(np.float32)
        if frame == reference or quality[frame] < config.least_correlation:
            continue
        integer = affine[frame].copy()
        integer[:, 2] += integer[:, :2] @ [0.5, 0.5] - 0.5
        aligned = cv2.warpAffine(greys[frame], integer, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP).astype(np.uint8, copy=False)
        found, error = match(greys[reference], aligned, points, points, 2, config.match)
        alike = correlation(template, patches(aligned, found, config.match.patch))
        good = (error < config.match.back_error) & (alike > config.patch_correlation) & (np.linalg.norm(found - points, axis=1) < 0.15 * config.size)
        there = found @ affine[frame, :, :2].T.astype(np.float32) + affine[frame, :, 2].astype(np.float32)
        column, row = np.clip(there[:, 0].astype(int), 0, width - 1), np.clip(there[:, 1].astype(int), 0, height - 1)
        good &= masks[frame][row, column]
        xy[good, frame] = there[good]
        visible[:, frame] = good
    return xy, visible
