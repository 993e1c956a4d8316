"""Depth that agrees between cameras, of movers: where each camera's rays enter the visual hull of one moment's masks, rounded.

Few cameras cut a body out as a block with flat faces and sharp edges. Of all bodies with those silhouettes an ellipse in the block is
the likelier one: a ray through the middle of a limb meets it at the block's face, one at its rim half-way through the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.counting import counted
from fourfold.priors.contracts import Depth, Masks
from fourfold.priors.depth.fill import pull_push
from fourfold.priors.depth.rig import Stage
from fourfold.priors.rigs.hull import HullNumbers, Points, Silhouette, carve, projected, silhouette
from fourfold.threads import in_threads

_GAP = np.ones((5, 5), np.uint8)
"""Narrower gaps in a body are filled from around them, whatever another hull says."""


@dataclass(frozen=True)
class HullDepthNumbers:
    """How hulls become depth.

    Attributes:
        hulls: carvings, the first that a ray meets serves. Cells that few cameras see are contradicted by few: the room between two opposite
            cameras and before their object is in both masks, so a hull that most cameras vouch for comes first.
        voxel_pixels: side of a voxel in pixels of the image that shows the middle of the stage.
        most: voxels of one moment; they become larger where there would be more.
        rounded: treat the hull as the block around an ellipse; False takes its faces.
        sure: confidence of a pixel whose ray meets each of the hulls; guessed: of other pixels of the mask, filled from their neighbours.
    """

    hulls: tuple[HullNumbers, ...] = (HullNumbers(seen_share=0.7), HullNumbers())
    voxel_pixels: float = 1.5
    most: int = 400_000
    rounded: bool = True
    sure: tuple[float, ...] = (0.6, 0.4)
    guessed: float = 0.3


def with_movers(capture: Capture, masks: Masks, background: Depth, stage: Stage, numbers: HullDepthNumbers = HullDepthNumbers()) -> Depth:
    """`background` with the depth of what moves put in at every moment that two or more training cameras saw."""
    depth, sure = [np.array(d, np.float32) for d in background.depth], [np.array(c, np.float16) for c in background.confidence]
    voxel = numbers.voxel_pixels * stage.radius / float(np.median(capture.K[capture.train][:, 0, 0]))
    moments = np.flatnonzero(capture.train.sum(axis=0) >= 2)

    def put(index: int) -> None:
        views = [int(v) for v in np.flatnonzero(capture.train[:, index])]
        outlines = [silhouette(np.asarray(masks.mask[v][index] >= 0), capture.K[v, index], capture.world_to_camera[v, index]) for v in views]
        solids = [_solid(outlines, stage, voxel, hull, numbers.most) for hull in numbers.hulls]
        for view, outline in zip(views, outlines, strict=True):
            mover = masks.mask[view][index] > 0
            found, trust = np.zeros(mover.shape, np.float32), np.full(mover.shape, numbers.guessed, np.float32)
            for (cells, side), level in zip(solids, numbers.sure, strict=True) if mover.any() else ():
                missing = mover & (found == 0)
                if (found > 0).any():
                    missing &= cv2.morphologyEx(missing.astype(np.uint8), cv2.MORPH_OPEN, _GAP) > 0
                if missing.any() and len(cells):
                    met = np.where(missing, hull_depth(cells, side, outline, mover, numbers.rounded), 0)
                    found, trust = np.where(met > 0, met, found), np.where(met > 0, level, trust)
            if not (found > 0).any():
                depth[view][index][mover], sure[view][index][mover] = 0, 0
                continue
            inverse = pull_push(np.where(found > 0, 1 / np.maximum(found, 1e-9), 0).astype(np.float32), found > 0)
            known = inverse > 0.1 / float(found.max())
            depth[view][index][mover] = np.where(known, 1 / np.maximum(inverse, 1e-9), 0)[mover]
            sure[view][index][mover] = (trust * known)[mover]

    list(counted(in_threads(put, (int(t) for t in moments)), total=len(moments)))
    return Depth(background.provenance, tuple(depth), tuple(sure))


def _solid(outlines: Sequence[Silhouette], stage: Stage, voxel: float, hull: HullNumbers, most: int) -> tuple[Points, float]:
    """All voxels of the hull (M, 3), and their side."""
    _, cells = carve(outlines, stage.center, stage.radius, voxel, hull)
    while len(cells) > most:
        voxel *= max(1.05, float(np.cbrt(len(cells) / most)))
        _, cells = carve(outlines, stage.center, stage.radius, voxel, hull)
    return cells, voxel


def hull_depth(cells: Points, side: float, view: Silhouette, mover: NDArray[np.bool_], rounded: bool = True) -> NDArray[np.float32]:
    """(H, W) depth along the optical axis at which rays of the pixels `mover` (H, W) enter the body, 0 where they meet no voxel.

    Args:
        cells: (M, 3) centres of all voxels of the hull, of this `side`.
    """
    pixel, depth = projected(cells, view.K, view.world_to_camera)
    height, width = mover.shape
    column, row = np.floor(np.clip(pixel, -1, 1e6)).astype(np.int64).T
    inside = (depth > side) & (column >= 0) & (row >= 0) & (column < width) & (row < height)
    if not inside.any():
        return np.zeros(mover.shape, np.float32)
    near = np.full(mover.shape, np.inf, np.float32)
    np.minimum.at(near, (row[inside], column[inside]), (depth[inside] - 0.5 * side).astype(np.float32))
    near = _closed(near, 0.6 * side * view.K[0, 0])
    if rounded:
        far = _first_exit(near, (row[inside], column[inside]), depth[inside].astype(np.float32), side, mover.shape)
        met = np.isfinite(near)
        half = np.where(met, np.maximum(np.where(met, far, 0) - np.where(met, near, 0), 0) / 2, 0)
        near = near + half * (1 - _roundness(mover))
    return np.where(mover & np.isfinite(near), near, 0).astype(np.float32)


def _closed(near: NDArray[np.float32], reach: float) -> NDArray[np.float32]:
    """Gaps between the projected voxels take their nearest neighbour's depth; `reach` over a voxel's depth is its half side in pixels."""
    kernel = np.ones((3, 3), np.uint8)
    for ring in range(1, 1 + int(np.ceil(min(reach / float(near[np.isfinite(near)].min()), 32)))):
        grown = cv2.erode(near, kernel, borderType=cv2.BORDER_REPLICATE)  # the default border is a large finite number
        near = np.where(np.isfinite(near) | ~(reach / np.maximum(grown, 1e-9) > ring - 1), near, grown)
    return near


def _first_exit(
    near: NDArray[np.float32], where: tuple[NDArray[np.int64], NDArray[np.int64]], depth: NDArray[np.float32], side: float, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """(H, W) depth at which the first body that a ray enters ends: bodies behind it are separate where a gap of three voxels is between."""
    order = np.lexsort((depth, where[1], where[0]))
    flat, sorted_depth = (where[0] * shape[1] + where[1])[order], depth[order]
    fresh = np.ones(len(flat), bool)
    fresh[1:] = flat[1:] != flat[:-1]
    gap = np.zeros(len(flat), bool)
    gap[1:] = ~fresh[1:] & (np.diff(sorted_depth) > 3 * side)
    starts = np.maximum.accumulate(np.where(fresh, np.arange(len(flat)), 0))
    behind = np.cumsum(gap) - np.cumsum(gap)[starts] > 0
    far = np.full(shape, -np.inf, np.float32).ravel()
    np.maximum.at(far, flat[~behind], sorted_depth[~behind] + 0.5 * side)
    far = far.reshape(shape)
    spread = cv2.dilate(far, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    return np.maximum(np.where(np.isfinite(far), far, np.where(np.isfinite(spread), spread, near)), near)


def _roundness(mover: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W) 1 in the middle of a limb, 0 at its rim: the height of an ellipse over its chord.

    The chord at a pixel is the largest disc inside the mask that covers it.
    """
    inner = cv2.distanceTransform(np.pad(mover, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    half_width = inner.copy()
    for radius in range(1, int(inner.max()) + 1):
        away = cv2.distanceTransform((inner < radius).astype(np.uint8), cv2.DIST_L2, 5)
        half_width[mover & (away < radius)] = radius
    half_width = np.maximum(half_width, inner)
    share = np.clip(1 - inner / np.maximum(half_width, 1e-6), 0, 1)
    return np.sqrt(1 - share**2).astype(np.float32)
