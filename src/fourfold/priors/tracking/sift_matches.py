"""Points seen by two cameras, by SIFT: mutual nearest descriptors, within the epipolar band where the cameras are known, then USAC.

Spec sparse_dynamic_cameras.md section 2.1: one member of the union of matchers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.priors.tracking.matching import PointFeatures
from fourfold.priors.tracking.track_step import grey_of

Points = NDArray[np.float32]


@dataclass(frozen=True)
class SiftNumbers:
    """Numbers of the SIFT matching.

    Attributes:
        features: keypoints per image at most, the strongest ones.
        contrast: SIFT's contrast threshold; lower finds more points on smooth surfaces.
        enlarge: images are enlarged so often before detection (SIFT doubles once more by itself): people are small in images of working size.
        ratio: distance to the second best descriptor below which, times this, the best is believed.
        band: distance from the epipolar line within which a match is looked for where the cameras are known, pixels: several times what
            calibration errors and unsynchronised shutters amount to.
        far: candidates nearer to each other than this many pixels are one point and no rivals in the ratio test.
    """

    features: int = 4000
    contrast: float = 0.015
    enlarge: int = 2
    ratio: float = 0.85
    band: float = 3.0
    far: float = 4.0


def describe(image: NDArray[np.uint8], where: NDArray[np.bool_] | None, numbers: SiftNumbers = SiftNumbers()) -> PointFeatures:
    """Keypoints of an (H, W, 3) RGB image, inside `where` (H, W) if given, with RootSIFT descriptors (N, 128) of unit length."""
    grey = grey_of(image)
    mask = None if where is None else where.astype(np.uint8) * 255
    if numbers.enlarge > 1:
        grey = cv2.resize(grey, None, fx=numbers.enlarge, fy=numbers.enlarge, interpolation=cv2.INTER_CUBIC)
        mask = None if mask is None else cv2.resize(mask, grey.shape[::-1], interpolation=cv2.INTER_NEAREST)
    _, features = keypoints(grey, mask, numbers.features, numbers.contrast)
    return replace(features, xy=(features.xy + 0.5) / numbers.enlarge)


def keypoints(grey: NDArray[np.uint8], mask: NDArray[np.uint8] | None, most: int, contrast: float) -> tuple[Sequence[cv2.KeyPoint], PointFeatures]:
    """OpenCV's keypoints of a grey image (H, W), where `mask` (H, W) is not 0, and their RootSIFT features, pixel centres at whole numbers."""
    found, descriptor = cv2.SIFT_create(nfeatures=most, contrastThreshold=contrast).detectAndCompute(grey, mask)  # type: ignore[attr-defined]
    if descriptor is None or not found:
        found, descriptor = (), np.zeros((0, 128), np.float32)
    root = np.sqrt(descriptor / np.maximum(descriptor.sum(axis=1, keepdims=True), 1e-12)).astype(np.float32)
    xy = np.array([k.pt for k in found], np.float32).reshape(-1, 2)
    return found, PointFeatures(xy, root, np.array([k.response for k in found], np.float32))


def match_along_lines(
    a: PointFeatures, b: PointFeatures, fundamental: NDArray[np.float64], numbers: SiftNumbers = SiftNumbers()
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Mutual best pairs among those within `numbers.band` of the epipolar lines that pass the ratio test.

    Args:
        a, b: with descriptors of unit length.
        fundamental: (3, 3) with [xy_b, 1] F [xy_a, 1]^T = 0 for pixels of one point.

    Returns:
        pairs (M, 2) rows of `a` and `b`, and confidence (M,) in (0, 1]: one minus the ratio of the best two distances.
    """
    if len(a.xy) == 0 or len(b.xy) == 0:
        return np.zeros((0, 2), np.int64), np.zeros(0, np.float32)
    likeness = np.where(line_distance(fundamental, a.xy, b.xy) <= numbers.band, a.descriptors @ b.descriptors.T, -1.0)
    forward, ratio = _best(likeness, b.xy, numbers.far)
    backward, ratio_back = _best(likeness.T, a.xy, numbers.far)
    rows = np.arange(len(a.xy))
    worse = np.maximum(ratio, ratio_back[forward])
    good = (backward[forward] == rows) & (likeness[rows, forward] > -1) & (worse < numbers.ratio)
    return np.stack([rows, forward], axis=1)[good], (1 - worse)[good].astype(np.float32)


def line_distance(fundamental: NDArray[np.float64], xy_a: Points, xy_b: Points) -> NDArray[np.float64]:
    """(N, M) distance in pixels of every point of b from the epipolar line of every point of a."""
    lines = np.concatenate([xy_a, np.ones((len(xy_a), 1))], axis=1) @ fundamental.T
    lines /= np.maximum(np.linalg.norm(lines[:, :2], axis=1, keepdims=True), 1e-12)
    return np.abs(lines @ np.concatenate([xy_b, np.ones((len(xy_b), 1))], axis=1).T)


def agreeing(xy_a: Points, xy_b: Points, tolerance: float) -> NDArray[np.bool_]:
    """(N,) inliers of one fundamental matrix by USAC (MAGSAC); with fewer than 15 pairs none can be told and none is believed."""
    if len(xy_a) < 15:
        return np.zeros(len(xy_a), bool)
    cv2.setRNGSeed(0)
    _, inlier = cv2.findFundamentalMat(xy_a.astype(np.float64), xy_b.astype(np.float64), cv2.USAC_MAGSAC, tolerance, 0.999, 5000)
    return np.zeros(len(xy_a), bool) if inlier is None else inlier[:, 0] > 0


def _best(likeness: NDArray[np.floating], xy: Points, far: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Per row the best column, and the ratio of its descriptor distance to that of the best column at least `far` pixels away from it."""
    best = likeness.argmax(axis=1)
    rows = np.arange(len(likeness))
    near = np.linalg.norm(xy[best][:, None] - xy[None], axis=2) < far
    second = np.where(near, -1.0, likeness).max(axis=1)
    distance = np.sqrt(np.maximum(2 - 2 * likeness[rows, best], 0))
    return best, distance / np.maximum(np.sqrt(np.maximum(2 - 2 * second, 0)), 1e-9)
