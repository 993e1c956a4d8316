"""What the static world says about a moving object's depth: the ground it stands on and the background it hides."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.priors.depth.fill import splat_nearest
from fourfold.priors.depth.sweep_references import unproject

Array = NDArray[np.float64]
SURE = 0.25


def ground_ratio(
    static: NDArray[np.floating], sure: NDArray[np.floating], mask: NDArray[np.bool_], own: NDArray[np.floating]
) -> tuple[float, float] | None:
    """Ratio of the static depth just under the object's lowest pixels to the object's own depth there, and how ground-like the surface is.

    A ground seen at an angle has an inverse depth that grows downwards and would vanish at a horizon not far above; an upright surface
    behind a held object has not. Round bodies turn away from the camera where they touch the ground, and their depth is measured too near there:
    the object's own depth is a high percentile of its lowest part. The second number is 1 for a horizon within half an image height, 0 for none.

    Args:
        static, sure: (H, W) depth of the static world and its confidence.
        mask: (H, W) the object.
        own: (H, W) depth of the object in its own units inside the mask.

    Returns:
        None where the object leaves the image below or nothing sure is seen under it.
    """
    height = mask.shape[0]
    rows = np.where(mask.any(axis=0), height - 1 - mask[::-1].argmax(axis=0), -1)
    columns = np.flatnonzero(rows >= 0)
    if len(columns) == 0:
        return None
    lowest = int(rows.max())
    reach = max(4, round(0.08 * height))
    if lowest >= height - 4:
        return None
    columns = columns[rows[columns] >= lowest - max(2, reach // 3)]
    inverse, below, ratio = [], [], []
    for column in columns:
        first = int(rows[column])
        under = slice(first + 3, min(first + 3 + reach, height))
        good = (sure[under, column] > SURE) & (static[under, column] > 0)
        inverse.append(1 / static[under, column][good].astype(np.float64))
        below.append(np.arange(under.start, under.stop)[good] - first)
        body = own[max(first - max(2, reach // 2), 0) : first + 1, column]
        ratio += body[body > 0].astype(np.float64).tolist()
    values, offsets = np.concatenate(inverse), np.concatenate(below)
    if len(values) < 8 or not ratio or np.ptp(offsets) < 2:
        return None
    slope, level = np.polyfit(offsets, values, 1)
    contact = level if level > 0.5 * float(np.median(values)) else float(np.median(values))
    horizon = contact / slope if slope > 1e-12 else np.inf
    likeness = float(np.clip(1.5 - horizon / height, 0, 1))
    return 1 / (float(contact) * float(np.percentile(ratio, 85))), likeness


def hidden_depth(
    static: Sequence[NDArray[np.floating]], sure: Sequence[NDArray[np.floating]], K: Array, world_to_camera: Array, frame: int, others: Sequence[int]
) -> NDArray[np.float32]:
    """Depth (H, W) of the static world in `frame` as other frames saw it, 0 where none did.

    Args:
        static, sure: per frame (H, W) depth and confidence; K (F, 3, 3); world_to_camera (F, 4, 4).
        others: the frames looked at.
    """
    height, width = static[frame].shape
    points = [unproject(np.asarray(static[o], np.float64), K[o], world_to_camera[o])[np.asarray(sure[o]) > SURE] for o in others]
    camera = np.concatenate(points) @ world_to_camera[frame][:3, :3].T + world_to_camera[frame][:3, 3]
    pixel = camera @ K[frame].T
    return splat_nearest(pixel[:, :2] / np.where(np.abs(pixel[:, 2:]) > 1e-9, pixel[:, 2:], np.nan), camera[:, 2], height, width)


def occlusion_bound(behind: NDArray[np.floating], mask: NDArray[np.bool_], own: NDArray[np.floating]) -> float | None:
    """Scale at which the object would touch what it hides: a low percentile of background depth over own depth; None if too little is known."""
    inner = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    known = inner & (behind > 0) & (own > 0)
    if int(known.sum()) < max(20, 0.05 * int(inner.sum())):
        return None
    return float(np.percentile(behind[known] / own[known], 10))
