"""3D tracks made complete and clean: which are kept, when they are at rest, where they are while hidden.

Spec shape_of_motion.md section 4, points 1 to 3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fourfold.priors.contracts import Tracks3D

VISIBLE = 0.5
"""Visibility above which a track counts as seen."""


@dataclass(frozen=True)
class CleanTracks:
    """P tracks at K knots.

    Attributes:
        xyz: (P, K, 3) finite everywhere, scene units.
        visible: (P, K) bool; reliable: (P, K) in [0, 1], confidence where xyz was measured (or is native), 0 where it was filled in.
        color (P, 3), spacing (P,), group (P,): as in `Tracks3D`.
        knots: (K,) seconds; indices: (K,) time indices; canonical: position among the knots of the canonical time.
    """

    xyz: NDArray[np.float64]
    visible: NDArray[np.bool_]
    reliable: NDArray[np.float64]
    color: NDArray[np.float32]
    spacing: NDArray[np.float32]
    group: NDArray[np.int32]
    knots: NDArray[np.float64]
    indices: NDArray[np.int64]
    canonical: int

    def rows(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> CleanTracks:
        """The `chosen` tracks."""
        names = ("xyz", "visible", "reliable", "color", "spacing", "group")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})

    def __len__(self) -> int:
        return len(self.xyz)


FARTHEST = 1000.0
"""Tracks that ever go farther from the middle of all tracks than this many times the median distance are no tracks of this scene."""


def clean_tracks(tracks: Tracks3D, timestamps: NDArray[np.float64], indices: NDArray[np.int64], outlier: float = 0.95) -> CleanTracks | None:
    """Tracks at the time `indices` (those with training images), cleaned; None if nothing usable is left.

    Lifted tracks at or beyond the `outlier` quantile of the distance to their object's middle at the canonical time are dropped, and so are
    tracks that were never seen or that run away (`FARTHEST`). Lifted tracks are interpolated in time while hidden; native ones are kept as they are.
    """
    xyz = tracks.xyz[:, indices].astype(np.float64)
    known = np.isfinite(xyz).all(-1)
    visible = (tracks.visibility[:, indices].astype(np.float64) > VISIBLE) & known
    native = (tracks.native > 0)[:, None] & known
    measured = visible | native
    keep = measured.any(1)
    if keep.sum() < 3:
        return None
    counts = visible[keep].sum(0)
    best = np.flatnonzero(counts == counts.max())
    canonical = int(best[np.abs(best - (len(indices) - 1) / 2).argmin()])
    xyz, visible, measured = xyz[keep], visible[keep], measured[keep]
    reliable = np.clip(np.nan_to_num(tracks.confidence[keep][:, indices].astype(np.float64)), 0, 1) * measured
    filled = fill_hidden(xyz, measured)
    group, lifted = tracks.group[keep], tracks.native[keep] == 0
    good = stays_near(filled)
    for number in np.unique(group):
        mine = group == number
        distance = np.linalg.norm(filled[mine, canonical] - np.median(filled[mine, canonical], axis=0), axis=1)
        good[mine] &= (distance < np.quantile(distance, outlier)) | ~lifted[mine] | (mine.sum() <= 10)
    whole = CleanTracks(filled, visible, reliable, tracks.color[keep], tracks.spacing[keep], group, timestamps[indices], indices, canonical)
    return whole.rows(good) if good.sum() >= 3 else whole


def stays_near(xyz: NDArray[np.float64], farthest: float = FARTHEST) -> NDArray[np.bool_]:
    """(P,) tracks (P, K, 3) that never go beyond `farthest` median distances from the median position of all tracks and times."""
    distance = np.linalg.norm(xyz - np.median(xyz, axis=(0, 1)), axis=-1)
    return (distance <= farthest * max(float(np.median(distance)), 1e-12)).all(axis=1)


def fill_hidden(xyz: NDArray[np.float64], measured: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(P, K, 3) with unmeasured entries interpolated linearly over the knots' order between measured ones, constant beyond the ends."""
    count = xyz.shape[1]
    order = np.broadcast_to(np.arange(count), measured.shape)
    before = np.maximum.accumulate(np.where(measured, order, -1), axis=1)
    after = np.minimum.accumulate(np.where(measured, order, count)[:, ::-1], axis=1)[:, ::-1]
    low, high = np.where(before < 0, after, before), np.where(after >= count, before, after)
    low, high = np.clip(low, 0, count - 1), np.clip(high, 0, count - 1)
    share = np.where(high > low, (order - low) / np.maximum(high - low, 1), 0.0)[..., None]
    rows = np.arange(len(xyz))[:, None]
    return xyz[rows, low] * (1 - share) + xyz[rows, high] * share
