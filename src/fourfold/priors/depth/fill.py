"""Filling unknown pixels smoothly from known ones (pull-push), and spreading scattered values over an image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError


def pull_push(values: NDArray[np.floating], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Fill an image where it is not known by a smooth, nearly harmonic interpolation over an image pyramid.

    Args:
        values: (H, W) numbers; ignored where not known.
        known: (H, W) bool.

    Returns:
        (H, W) float32: `values` where known, a weighted mean of ever wider surroundings elsewhere; zeros if nothing is known.

    Source: Gortler et al., "The Lumigraph" (1996), section 3.4.
    """
    if values.shape != known.shape or values.ndim != 2:
        raise FourfoldError(f"pull_push got values {values.shape} and known {known.shape}, expected two equal (H, W) shapes")
    level = np.where(known, values, 0).astype(np.float32)
    weight = known.astype(np.float32)
    levels, weights = [level], [weight]
    while min(level.shape) > 2:
        height, width = level.shape
        size = ((width + 1) // 2, (height + 1) // 2)
        mean = cv2.resize(level * weight, size, interpolation=cv2.INTER_AREA)
        share = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
        level = np.where(share > 1e-6, mean / np.maximum(share, 1e-6), 0).astype(np.float32)
        weight = np.minimum(share * 2, 1)
        levels.append(level)
        weights.append(weight)
    if not known.any():
        return levels[0]
    fine = np.where(weights[-1] > 0, levels[-1], (levels[-1] * weights[-1]).sum() / max(float(weights[-1].sum()), 1e-6)).astype(np.float32)
    for level, weight in zip(levels[-2::-1], weights[-2::-1], strict=True):
        coarse = cv2.resize(fine, (level.shape[1], level.shape[0]), interpolation=cv2.INTER_LINEAR)
        fine = level * weight + coarse * (1 - weight)
    return fine.astype(np.float32)


def splat_nearest(xy: NDArray[np.floating], depth: NDArray[np.floating], height: int, width: int) -> NDArray[np.float32]:
    """Draw points into a depth image, the nearest one wins; every point covers the 2x2 pixels around it.

    Args:
        xy: (N, 2) positions in pixels, pixel centres at +0.5.
        depth: (N,) depth along the axis; points behind the camera (depth <= 0) or not finite are left out.

    Returns:
        (height, width) float32 depth, 0 where nothing fell.
    """
    buffer = np.full(height * width, np.inf, np.float32)
    usable = np.isfinite(xy).all(axis=1) & (depth > 0)
    corner = np.floor(np.clip(xy[usable], -4.0, max(height, width) + 4.0) - 0.5).astype(np.int64)
    near = depth[usable].astype(np.float32)
    for dx in (0, 1):
        for dy in (0, 1):
            column, row = corner[:, 0] + dx, corner[:, 1] + dy
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            np.minimum.at(buffer, row[inside] * width + column[inside], near[inside])
    return np.where(np.isfinite(buffer), buffer, 0).reshape(height, width).astype(np.float32)
