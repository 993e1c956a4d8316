"""Plane-sweep stereo in plain images: features, plane-induced warps, robust patch costs, the cost volume and its minimum.

The same code serves the static world (poses are world_to_camera) and a moving object (poses are object_to_camera).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.kernels.library import load
from fourfold.priors.tracking.track_step import grey_of

UNSEEN = 4.0  # marker far above any patch cost, which lies in [0, 1]
_TO_CENTRES = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
_FROM_CENTRES = np.linalg.inv(_TO_CENTRES)


@dataclass(frozen=True)
class SweepConfig:
    """Numbers of one sweep.

    Attributes:
        planes: inverse-depth planes between the two ends of the range.
        patch: side of the square patch, pixels.
        best_share: share of the neighbours, the best matching ones, whose costs are averaged (occlusions spoil the others).
        colour_weight, detail_weight: weights of the colour channels and of the high-passed luminance.
        detail_sigma: width of the blur that the high-pass subtracts, pixels.
        unseen_penalty: added per missing neighbour among the best ones.
        small_step, large_step: semi-global smoothing penalties for a change of one plane and of more, in units of cost.
    """

    planes: int = 80
    patch: int = 5
    best_share: float = 0.5
    colour_weight: float = 0.5
    detail_weight: float = 1.5
    detail_sigma: float = 3.0
    unseen_penalty: float = 0.02
    small_step: float = 0.01
    large_step: float = 0.06


@dataclass(frozen=True)
class SweepImage:
    """One image to sweep with.

    Attributes:
        features: (H, W, 4) uint8, see `features_of`.
        valid: (H, W) uint8, 255 where the pixel belongs to what is swept.
        K: (3, 3) intrinsics, pixel centres at +0.5.
        pose: (4, 4) rigid transform from the swept frame (world or object) to this camera.
    """

    features: NDArray[np.uint8]
    valid: NDArray[np.uint8]
    K: NDArray[np.float64]
    pose: NDArray[np.float64]


class _Image(ctypes.Structure):
    """`Image` of kernels/sweep.cpp."""

    _fields_ = (*((name, ctypes.c_void_p) for name in ("features", "valid")), *((name, ctypes.c_int64) for name in ("height", "width")))


class _Sweep(ctypes.Structure):
    """`Sweep` of kernels/sweep.cpp."""

    _fields_ = (
        ("reference", _Image),
        *((name, ctypes.c_void_p) for name in ("others", "base", "slope", "inverse")),
        *((name, ctypes.c_int64) for name in ("count", "planes", "patch", "best", "leaving")),
        *((name, ctypes.c_float) for name in ("colour", "detail", "penalty")),
    )


def _image_of(image: SweepImage) -> tuple[_Image, tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """An image for the kernel, and the arrays that must outlive it."""
    kept = np.ascontiguousarray(image.features), np.ascontiguousarray(image.valid)
    return _Image(*(a.ctypes.data for a in kept), *image.valid.shape), kept


def features_of(image: NDArray[np.uint8], config: SweepConfig) -> NDArray[np.uint8]:
    """(H, W, 4) uint8 of an (H, W, 3) uint8 image: colour, and high-passed luminance around 128."""
    grey = grey_of(image)
    detail = 128.0 + grey.astype(np.float32) - cv2.GaussianBlur(grey.astype(np.float32), (0, 0), config.detail_sigma)
    return np.dstack([image, np.clip(detail, 0, 255).astype(np.uint8)])


def plane_homography(reference: SweepImage, other: SweepImage, inverse_depth: float) -> NDArray[np.float64]:
    """(3, 3) map from integer-centred pixels of `reference` to those of `other` for the plane z = 1 / inverse_depth of the reference camera."""
    relative = other.pose @ np.linalg.inv(reference.pose)
    plane = np.outer(relative[:3, 3], [0.0, 0.0, inverse_depth])
    return _FROM_CENTRES @ other.K @ (relative[:3, :3] + plane) @ np.linalg.inv(reference.K) @ _TO_CENTRES


def cost_volume(
    reference: SweepImage,
    others: Sequence[SweepImage],
    inverse_depths: NDArray[np.float64],
    config: SweepConfig,
    leaving_cost: float | None = None,
) -> NDArray[np.float32]:
    """Patch cost of every pixel of `reference` at every plane.

    With `leaving_cost` None, pixels that fall outside an image or on invalid pixels of it are ignored (a static world with movers
    cut out); with a number, they cost it (an object that must stay inside its masks).

    Returns:
        (D, H, W) float32: mean of the best costs, about [0, 1]; `UNSEEN` where no neighbour sees the patch.
    """
    library = load()
    if library is None or not others:
        return cost_volume_reference(reference, others, inverse_depths, config, leaving_cost)
    volume = np.empty((len(inverse_depths), *reference.valid.shape), np.float32)
    homographies = [plane_homography(reference, other, depth).ravel() for depth in (0.0, 1.0) for other in others]
    base, slope = np.ascontiguousarray(homographies[: len(others)]), np.ascontiguousarray(homographies[len(others) :])
    slope -= base
    planes, images = np.ascontiguousarray(inverse_depths, np.float64), [_image_of(one) for one in (reference, *others)]
    neighbours = (_Image * len(others))(*(image for image, _ in images[1:]))
    arrays = (ctypes.addressof(neighbours), *(a.ctypes.data for a in (base, slope, planes)))
    leaving = -1 if leaving_cost is None else int(255 * leaving_cost)
    whole = (len(others), len(planes), config.patch, _counted(others, config), leaving)
    call = _Sweep(images[0][0], *arrays, *whole, config.colour_weight, config.detail_weight, config.unseen_penalty)
    if library.ff_sweep_costs(ctypes.byref(call), ctypes.c_void_p(volume.ctypes.data)):
        raise MemoryError(f"no memory to sweep {len(planes)} planes")
    return volume


def cost_volume_reference(
    reference: SweepImage,
    others: Sequence[SweepImage],
    inverse_depths: NDArray[np.float64],
    config: SweepConfig,
    leaving_cost: float | None = None,
) -> NDArray[np.float32]:
    """The plain twin of `cost_volume`, by OpenCV."""
    height, width = reference.valid.shape
    best = _counted(others, config)
    volume = np.empty((len(inverse_depths), height, width), np.float32)
    for index, inverse_depth in enumerate(inverse_depths):
        ranked = [np.full((height, width), UNSEEN, np.float32) for _ in range(best)]
        for other in others:
            cost = _patch_cost(reference, other, float(inverse_depth), config, leaving_cost)
            for place in range(best):
                lower = np.minimum(ranked[place], cost)
                cost = np.maximum(ranked[place], cost)
                ranked[place] = lower
        seen = [r < UNSEEN for r in ranked]
        count = np.sum(seen, axis=0)
        total = np.sum([np.where(s, r, 0) for s, r in zip(seen, ranked, strict=True)], axis=0)
        volume[index] = np.where(count > 0, total / np.maximum(count, 1) + config.unseen_penalty * (best - count), UNSEEN)
    return volume


def _counted(others: Sequence[SweepImage], config: SweepConfig) -> int:
    """How many of the neighbours, the best ones, count."""
    return max(1, round(config.best_share * len(others)))


def _patch_cost(
    reference: SweepImage, other: SweepImage, inverse_depth: float, config: SweepConfig, leaving_cost: float | None
) -> NDArray[np.float32]:
    height, width = reference.valid.shape
    matrix = plane_homography(reference, other, inverse_depth)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpPerspective(other.features, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpPerspective(other.valid, matrix, (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    weights = np.array([[config.colour_weight] * 3 + [config.detail_weight]], np.float32)
    difference = cv2.transform(cv2.absdiff(warped, reference.features), weights)
    patch = (config.patch, config.patch)
    if leaving_cost is not None:
        difference = np.where(inside > 0, difference, np.uint8(255 * leaving_cost))
        inside = reference.valid
    else:
        inside = cv2.bitwise_and(inside, reference.valid)
    share = cv2.boxFilter(inside, cv2.CV_32F, patch, normalize=True)
    mean = cv2.boxFilter(cv2.bitwise_and(difference, inside), cv2.CV_32F, patch, normalize=True)
    return np.where(share > 0.4 * 255, mean / np.maximum(share, 1.0), UNSEEN).astype(np.float32)


def smooth_volume(volume: NDArray[np.float32], guide: NDArray[np.uint8], config: SweepConfig) -> NDArray[np.float32]:
    """Semi-global smoothing of a cost volume along the four axis directions; the large penalty falls across edges of `guide`.

    Source: Hirschmueller, "Stereo processing by semiglobal matching and mutual information" (2008).
    """
    grey, library = grey_of(guide[..., :3]).astype(np.float32), load()
    if library is None or len(volume) < 2:
        return smooth_volume_reference(volume, grey, config)
    volume, smooth = np.ascontiguousarray(volume, np.float32), np.empty(volume.shape, np.float32)
    sizes, steps = (ctypes.c_int64 * 3)(*volume.shape), (ctypes.c_float * 2)(config.small_step, config.large_step)
    into, *given = (ctypes.c_void_p(a.ctypes.data) for a in (smooth, volume, grey))
    if library.ff_sweep_smooth(*given, sizes, steps, into):
        raise MemoryError(f"no memory to smooth {len(volume)} planes")
    return smooth


def smooth_volume_reference(volume: NDArray[np.float32], grey: NDArray[np.float32], config: SweepConfig) -> NDArray[np.float32]:
    """The plain twin of `smooth_volume`, of the guide's brightness (H, W)."""
    costs = np.minimum(volume, 1.0)
    down = _aggregate(np.ascontiguousarray(costs.transpose(1, 0, 2)), grey, config).transpose(1, 0, 2)
    right = _aggregate(np.ascontiguousarray(costs.transpose(2, 0, 1)), np.ascontiguousarray(grey.T), config).transpose(1, 2, 0)
    return 0.25 * (down + right)


def _aggregate(costs: NDArray[np.float32], grey: NDArray[np.float32], config: SweepConfig) -> NDArray[np.float32]:
    """Forward and backward sum over the first axis of (L, D, M) costs; grey (L, M) guides the penalty."""
    total = np.zeros_like(costs)
    for order in (range(len(costs)), range(len(costs) - 1, -1, -1)):
        previous: NDArray[np.float32] | None = None
        last = 0
        for line in order:
            if previous is None:
                current = costs[line].copy()
            else:
                lowest = previous.min(axis=0)
                edge = np.abs(grey[line] - grey[last])
                jump = lowest + config.large_step / (1 + edge / 10)
                reach = np.minimum(previous, jump)
                reach[1:] = np.minimum(reach[1:], previous[:-1] + config.small_step)
                reach[:-1] = np.minimum(reach[:-1], previous[1:] + config.small_step)
                current = costs[line] + reach - lowest
            total[line] += current
            previous, last = current, line
    return total


def winner(volume: NDArray[np.float32], inverse_depths: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Best inverse depth per pixel with a parabola between planes, its cost, and how far it stands below the median of all planes.

    Returns: three (H, W) float32 arrays.
    """
    index = volume.argmin(axis=0)
    middle = np.clip(index, 1, len(inverse_depths) - 2)
    rows, columns = np.indices(index.shape, sparse=True)
    before, centre, after = volume[middle - 1, rows, columns], volume[middle, rows, columns], volume[middle + 1, rows, columns]
    bend = before + after - 2 * centre
    offset = np.where(bend > 1e-6, np.clip((before - after) / np.maximum(2 * bend, 1e-6), -0.5, 0.5), 0)
    offset = np.where(index == middle, offset, index - middle)
    step = float(inverse_depths[1] - inverse_depths[0])
    inverse = float(inverse_depths[0]) + (middle + offset) * step
    sample = volume[:: max(1, len(volume) // 16)]
    return inverse.astype(np.float32), volume.min(axis=0), (np.median(sample, axis=0) - volume.min(axis=0)).astype(np.float32)
