"""Patches found again under an affine change: every point of a long track is compared with the patch where the track began.

Following a point from frame to frame adds up errors, above all because a window that turns or grows has another centre of gravity (.02 px a
frame for .01 radian). Inverse compositional alignment (Baker and Matthews 2004, section 3.2) with six parameters and the linear
illumination model removes both, and tells when a track follows something else: then it has ended. A patch that changed slowly is taken
anew, and only then drift begins again.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.kernels.library import load
from fourfold.priors.tracking.track_step import remapped

Points = NDArray[np.float32]
"""(N, 2) pixels, pixel centres at whole numbers as OpenCV has them."""
Rows = NDArray[np.float32]


@dataclass(frozen=True)
class AnchorConfig:
    """Numbers of the anchored patches.

    Attributes:
        side: samples along each side of a patch, one pixel apart, odd.
        width: deviation of the samples' bell-shaped weight, share of `side`.
        blur: deviation of the smoothing of images before sampling, pixels.
        steps: Gauss-Newton steps, from the point's place and shape in the frame before.
        settled: pixels; a point that a step moves by less takes no further steps.
        noise: grey levels by which patch and image differ at best; with `change` it damps shapes that texture cannot tell.
        change: change of shape in one step that is usual.
        longest: longest single step, pixels.
        alike: correlation below which the patch is taken anew where the point is now.
        least: correlation below which it is not seen any more: a point that slips behind an outline shows so.
        grain: grey levels by which noise and compression make patches differ; a smaller misfit does not end a track.
        away: pixels beyond which an alignment that left the point it started at has failed.
        stretch: factor by which a patch may grow or shrink along any direction.
    """

    side: int = 15
    width: float = 0.4
    blur: float = 0.7
    steps: int = 3
    settled: float = 0.0
    noise: float = 2.0
    change: float = 0.05
    longest: float = 1.5
    alike: float = 0.9
    least: float = 0.8
    grain: float = 4.0
    away: float = 1.5
    stretch: float = 3.0


@dataclass(frozen=True)
class Anchors:
    """Patches of N points with k samples each, and how each is seen now.

    value (N, k) grey levels less their weighted mean; deviation (N,) their weighted standard deviation; slope (N, 6, k) derivatives by
    shift and shape, less what a change of light explains; inverse (N, 6, 6) damped inverse of their products; shape (N, 2, 2) affine
    change from the anchor's frame to the frame last seen.
    """

    value: Rows
    deviation: NDArray[np.float32]
    slope: NDArray[np.float32]
    inverse: NDArray[np.float32]
    shape: NDArray[np.float32]

    def rows(self, which: NDArray[np.generic]) -> Anchors:
        """The anchors of some points."""
        return Anchors(*(getattr(self, f.name)[which] for f in fields(self)))

    def joined(self, *more: Anchors) -> Anchors:
        """These and more points."""
        return Anchors(*(np.concatenate([getattr(part, f.name) for part in (self, *more)]) for f in fields(self)))


class _Call(ctypes.Structure):
    """`FFAlign` of kernels/align.cpp."""

    _names = ("image", "offset", "weight", "value", "deviation", "slope", "inverse", "rows", "xy", "shape", "alike")
    _fields_ = (
        *((name, ctypes.c_void_p) for name in _names),
        *((name, ctypes.c_int64) for name in ("height", "width", "points", "samples", "steps")),
        *((name, ctypes.c_float) for name in ("longest", "settled")),
    )


def smooth(grey: NDArray[np.uint8], config: AnchorConfig) -> NDArray[np.float32]:
    """The image (H, W) from which patches are sampled."""
    return cv2.GaussianBlur(grey.astype(np.float32), (0, 0), config.blur).astype(np.float32)


def anchor(image: NDArray[np.float32], points: Points, config: AnchorConfig) -> Anchors:
    """The patches of (N, 2) points of a smoothed image (H, W)."""
    offset, weight = _offsets(config)
    u, v = points[:, :1] + offset[:, 0], points[:, 1:] + offset[:, 1]
    value = _centred(remapped(image, u, v), weight)
    deviation = np.sqrt((weight * value * value).sum(axis=1))
    down, along = (cv2.Sobel(image, cv2.CV_32F, 1 - d, d, ksize=3, scale=0.125) for d in (1, 0))
    gx, gy = remapped(along, u, v), remapped(down, u, v)
    slope = np.stack([g * o for o in (np.float32(1), offset[:, 0], offset[:, 1]) for g in (gx, gy)], axis=1)
    slope -= (slope @ weight)[..., None]
    unit = (value / np.maximum(deviation, 1e-3)[:, None])[..., None]
    slope -= (slope @ (unit * weight[:, None])) @ unit.swapaxes(1, 2)
    damping = np.diag([1e-3] * 2 + [1 / config.change**2] * 4) * config.noise**2 / len(weight)
    inverse = np.linalg.inv((slope * weight) @ slope.swapaxes(1, 2) + damping)
    shape = np.tile(np.eye(2, dtype=np.float32), (len(points), 1, 1))
    return Anchors(value, deviation, slope, inverse.astype(np.float32), shape)


def settle(
    image: NDArray[np.float32], points: Points, anchors: Anchors, rows: NDArray[np.intp], config: AnchorConfig
) -> tuple[Points, NDArray[np.float32], NDArray[np.bool_]]:
    """(R, 2) points of a smoothed image corrected by the anchors of `rows` (R,), the shapes (R, 2, 2) of their patches, and (R,) whether they are
    there at all. A patch that has changed is taken anew, in place: copies of all patches would take half as long as their alignment."""
    found, shape, correlation = _aligned(image, points, anchors, rows, config)
    grown = np.linalg.svd(shape, compute_uv=False)
    height, width = image.shape
    misfit = np.sqrt(np.maximum(2 * (1 - correlation), 0)) * anchors.deviation[rows]
    there = ((correlation > config.least) | (misfit < config.grain)) & (np.linalg.norm(found - points, axis=1) < config.away)
    there &= (grown[:, 0] < config.stretch) & (grown[:, 1] > 1 / config.stretch)
    there &= (found >= 0).all(axis=1) & (found[:, 0] <= width - 1) & (found[:, 1] <= height - 1)
    anew = np.flatnonzero(there & (correlation < config.alike))
    fresh = anchor(image, found[anew], config)
    for name, value in vars(fresh).items():
        getattr(anchors, name)[rows[anew]] = value
    shape[anew] = fresh.shape
    return found, shape, there


def align(image: NDArray[np.float32], points: Points, anchors: Anchors, config: AnchorConfig) -> tuple[Points, Anchors, NDArray[np.float32]]:
    """Where the patches are in a smoothed image near (N, 2) points, the anchors with their new shapes, and (N,) correlations there."""
    xy, shape, alike = _aligned(image, points, anchors, np.arange(len(points)), config)
    return xy, replace(anchors, shape=shape), alike


def _aligned(
    image: NDArray[np.float32], points: Points, anchors: Anchors, rows: NDArray[np.intp], config: AnchorConfig
) -> tuple[Points, NDArray[np.float32], NDArray[np.float32]]:
    """Places (R, 2), shapes (R, 2, 2) and correlations (R,) of points (R, 2) with the anchors of `rows` (R,)."""
    library = load()
    if library is None:
        return align_reference(image, points, anchors.rows(rows), config)
    offset, weight = _offsets(config)
    xy, shape, alike = points.astype(np.float32), anchors.shape[rows].astype(np.float32), np.empty(len(points), np.float32)
    given = (image, offset, weight, anchors.value, anchors.deviation, anchors.slope, anchors.inverse)
    kept = [*(np.ascontiguousarray(array, np.float32) for array in given), np.ascontiguousarray(rows, np.int64), xy, shape, alike]
    sizes = (*image.shape, len(points), len(weight), config.steps)
    if library.ff_align_patches(ctypes.byref(_Call(*(array.ctypes.data for array in kept), *sizes, config.longest, config.settled))):
        raise MemoryError(f"no memory to find {len(points)} patches again")
    return xy, shape, alike


def align_reference(
    image: NDArray[np.float32], points: Points, anchors: Anchors, config: AnchorConfig
) -> tuple[Points, NDArray[np.float32], NDArray[np.float32]]:
    """The plain twin of the kernel: places (N, 2), shapes (N, 2, 2) and correlations (N,)."""
    offset, weight = _offsets(config)
    xy, shape = points.astype(np.float32), anchors.shape.copy()
    rows, left = np.arange(len(xy)), anchors
    for _ in range(config.steps):
        value, deviation = _seen(image, xy[rows], shape[rows], offset, weight)
        gain = np.clip(left.deviation / np.maximum(deviation, 1e-3), 1 / 3, 3)
        error = (value * gain[:, None] - left.value) * weight
        step = np.einsum("nij,nj->ni", left.inverse, (left.slope @ error[..., None])[..., 0])
        turned = np.eye(2, dtype=np.float32) + np.clip(np.stack([step[:, [2, 4]], step[:, [3, 5]]], axis=1), -0.3, 0.3)
        shape[rows] = np.einsum("nij,njk->nik", shape[rows], np.linalg.inv(turned))
        length = np.linalg.norm(step[:, :2], axis=1)
        shift = step[:, :2] * np.minimum(1, config.longest / np.maximum(length[:, None], 1e-6))
        xy[rows] -= np.einsum("nij,nj->ni", shape[rows], shift)
        if (settled := length < config.settled).any():
            rows, left = rows[~settled], left.rows(~settled)
    value, deviation = _seen(image, xy, shape, offset, weight)
    product = (weight * value * anchors.value).sum(axis=1)
    return xy, shape, product / np.maximum(deviation * anchors.deviation, 1e-6)


def _seen(
    image: NDArray[np.float32], points: Points, shape: NDArray[np.float32], offset: Points, weight: NDArray[np.float32]
) -> tuple[Rows, NDArray[np.float32]]:
    """(N, k) grey levels less their mean of the patches of `shape` (N, 2, 2) around `points`, and (N,) their deviation."""
    u, v = (points[:, i : i + 1] + shape[:, i, :1] * offset[:, 0] + shape[:, i, 1:] * offset[:, 1] for i in (0, 1))
    value = _centred(remapped(image, u, v), weight)
    return value, np.sqrt((weight * value * value).sum(axis=1))


def _centred(value: Rows, weight: NDArray[np.float32]) -> Rows:
    return value - (weight * value).sum(axis=1, keepdims=True)


def _offsets(config: AnchorConfig) -> tuple[Points, NDArray[np.float32]]:
    """(k, 2) sample positions around a point and their weights, sum 1."""
    along = np.arange(config.side, dtype=np.float32) - config.side // 2
    x, y = np.meshgrid(along, along)
    offset = np.stack([x.ravel(), y.ravel()], axis=1)
    weight = np.exp(-0.5 * (offset**2).sum(axis=1) / (config.width * config.side) ** 2)
    return offset, (weight / weight.sum()).astype(np.float32)
