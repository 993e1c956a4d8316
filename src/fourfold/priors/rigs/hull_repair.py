"""Masks with holes, mended by the other cameras: a hole in one mask cuts a tunnel through the hull, which then covers no mask fully.

Where the hull of all masks leaves much of some mask uncovered, a gap of a mask is closed if the hull of the other cameras shows in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.priors.rigs.hull import HullNumbers, Points, Silhouette, carve, projected, silhouette

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class RepairNumbers:
    """How masks are mended.

    Attributes:
        gap: widest gap that is closed, share of the image width.
        uncovered: share of a mask that the hull must leave uncovered for any to be mended: masks that agree are left as they are.
        coarse: voxels of the hulls of the others are this many times larger.
        most: cameras in a rig beyond which the carving's own tolerance is enough.
    """

    gap: float = 0.06
    uncovered: float = 0.15
    coarse: float = 2.0
    most: int = 8


@dataclass(frozen=True)
class Stand:
    """Where a hull is carved: middle (3,) and half the side of the cube, and the side of the smallest cells, scene units."""

    center: Points
    half: float
    voxel: float


def shown(cells: Points, outline: Silhouette, voxel: float) -> Mask:
    """(H, W) where the camera of `outline` sees the cells (M, 3) of a hull."""
    pixel, depth = projected(cells, outline.K, outline.world_to_camera)
    height, width = outline.outside.shape
    where = np.floor(np.clip(pixel, -1, 1e6)).astype(np.int64)
    inside = np.flatnonzero((depth > voxel) & (where >= 0).all(1) & (where[:, 0] < width) & (where[:, 1] < height))
    result = np.zeros((height, width), np.uint8)
    order = inside[np.argsort(depth[inside], kind="stable")]
    for part in np.array_split(order, 4):  # cells of about one depth are about as wide
        if len(part):
            seen = np.zeros_like(result)
            seen[where[part, 1], where[part, 0]] = 1
            side = max(1, int(np.ceil(voxel * outline.K[0, 0] / float(np.median(depth[part])))))
            result |= cv2.dilate(seen, np.ones((side, side), np.uint8))
    return result > 0


def coverage(cells: Points, outlines: Sequence[Silhouette], voxel: float) -> NDArray[np.float64]:
    """(V,) share of each mask that the hull of cells (M, 3) covers, 1 for an empty one."""
    shares = [float(shown(cells, o, voxel)[o.outside == 0].mean()) if (o.outside == 0).any() else 1.0 for o in outlines]
    return np.array(shares)


def mended(outlines: Sequence[Silhouette], stand: Stand, hull: HullNumbers, numbers: RepairNumbers = RepairNumbers()) -> list[Silhouette]:
    """The silhouettes with gaps closed where the hull of the other cameras shows."""
    result: list[Silhouette] = []
    for number, outline in enumerate(outlines):
        others = [o for k, o in enumerate(outlines) if k != number]
        voxel = numbers.coarse * stand.voxel
        _, cells = carve(others, stand.center, stand.half, voxel, replace(hull, seen_share=min(1.0, 2 / len(others))))
        body = outline.outside == 0
        closed = _closed(body, max(1, round(numbers.gap * body.shape[1] / 2)))
        result.append(silhouette(body | (closed & shown(cells, outline, voxel)), outline.K, outline.world_to_camera))
    return result


def _closed(body: Mask, radius: int) -> Mask:
    """`body` (H, W) without gaps narrower than two radii; the image's border closes nothing."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    padded = cv2.copyMakeBorder(body.astype(np.uint8), *[radius] * 4, cv2.BORDER_CONSTANT, value=0)
    return cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disc)[radius:-radius, radius:-radius] > 0
