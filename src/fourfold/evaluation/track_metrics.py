"""Metrics of point tracks: TAP-Vid's AJ, delta and occlusion accuracy in the image, end-point error and delta in space.

Sources: TAP-Vid (Doersch et al. 2022, section 3) and spec evaluation_and_datasets.md (the iPhone protocol).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError

Array = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]

TAP_VID_PIXELS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Thresholds of TAP-Vid, pixels of an image scaled to `TAP_VID_RASTER` in both directions."""
TAP_VID_RASTER = 256
IPHONE_PIXELS = (4.0, 8.0, 16.0, 32.0, 64.0)
"""Thresholds of the iPhone protocol, pixels of the image at 1x."""


@dataclass(frozen=True)
class TrackScores:
    """Figures of image tracks, all in percent.

    Attributes:
        aj: average Jaccard.
        delta_avg: share of truly visible moments within the threshold, averaged over the thresholds.
        oa: share of moments whose visibility is right.
        jaccard, within: the terms of `aj` and `delta_avg`, per threshold.
        judged: moments judged.
    """

    aj: float
    delta_avg: float
    oa: float
    jaccard: tuple[float, ...]
    within: tuple[float, ...]
    judged: int


def score_tracks(distance: Array, seen: Flags, true_seen: Flags, judged: Flags, thresholds: tuple[float, ...] = TAP_VID_PIXELS) -> TrackScores | None:
    """Average Jaccard, delta and occlusion accuracy of P tracks over T moments, sums taken over all of them as for one clip.

    delta(x) = #(seen truly and nearer than x) / #seen truly; J(x) = TP / (#seen truly + FP), where TP is seen in both and nearer than x,
    FP is called seen but hidden in truth or not nearer than x; OA = #(visibility right) / #judged.

    Args:
        distance: (P, T) distance between track and truth in the unit of the thresholds; where truly hidden it does not matter.
        seen, true_seen: (P, T) visibility of the track and of the truth.
        judged: (P, T) moments that count; query moments should not (`without_queries`).

    Returns:
        None if no judged moment is visible in truth. FourfoldError if the shapes differ.
    """
    if not distance.shape == seen.shape == true_seen.shape == judged.shape:
        raise FourfoldError(
            f"tracks, truth and judged moments have shapes {distance.shape}, {seen.shape}, {true_seen.shape} and {judged.shape}, expected the same"
        )
    positives = int((true_seen & judged).sum())
    if positives == 0:
        return None
    near = [np.where(true_seen, distance, np.inf) < x for x in thresholds]
    within = [100 * float((n & judged).sum()) / positives for n in near]
    wrong = [int((seen & ~n & judged).sum()) for n in near]
    jaccard = [100 * float((n & seen & judged).sum()) / (positives + w) for n, w in zip(near, wrong, strict=True)]
    right = 100 * float(((seen == true_seen) & judged).sum()) / int(judged.sum())
    return TrackScores(float(np.mean(jaccard)), float(np.mean(within)), right, tuple(jaccard), tuple(within), int(judged.sum()))


def pixel_distance(xy: Array, true_xy: Array, size: tuple[int, int], raster: int | None = TAP_VID_RASTER) -> NDArray[np.float64]:
    """(P, T) distance of image tracks (P, T, 2), after scaling both axes of an image of `size` (width, height) to `raster`; None: pixels as they are.

    Not finite where the truth is not finite (behind the camera).
    """
    scale = np.ones(2) if raster is None else raster / np.asarray(size, float)
    return np.linalg.norm((np.asarray(xy, float) - np.asarray(true_xy, float)) * scale, axis=-1)


def without_queries(judged: Flags, query_time: NDArray[np.integer[Any]], only_after: bool = False) -> Flags:
    """`judged` (P, T) without each track's own query moment (P,); `only_after` also leaves out what lies before (TAP-Vid's query-first mode)."""
    moments = np.arange(judged.shape[1])
    return judged & ((moments > query_time[:, None]) if only_after else (moments != query_time[:, None]))


@dataclass(frozen=True)
class SpaceScores:
    """Figures of 3D tracks: mean and median end-point error, and the share (percent) of points nearer than the two thresholds."""

    epe: float
    median: float
    near_5: float
    near_10: float
    judged: int


def score_tracks3d(error: Array, judged: Flags, unit: float = 1.0) -> SpaceScores | None:
    """End-point error of 3D tracks and the share nearer than 0.05 and 0.10 units.

    Args:
        error: (P, T) distance to the truth.
        judged: (P, T) moments that count.
        unit: what 5 % and 10 % refer to, in the unit of `error`: 1 for metres (5 and 10 cm), the object's diameter where scenes are not metric.

    Returns:
        Errors in units, or None if nothing is judged.
    """
    values = np.asarray(error, float)[judged] / unit
    if values.size == 0:
        return None
    return SpaceScores(
        float(values.mean()), float(np.median(values)), 100 * float((values < 0.05).mean()), 100 * float((values < 0.10).mean()), values.size
    )
