"""Where static points were seen by one moving camera: 2D tracks outside the movers, each slot with the depth that its image claims there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Depth, Masks, Tracks2D
from fourfold.priors.tracking.lift import depth_inside

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SlotNumbers:
    """Which slots count.

    Attributes:
        visible: visibility times confidence above which a point counts as visible.
        slots: a track needs so many (spec mosca.md section 2: 4 for posed clips, 2 for others).
        per_frame: a frame needs so many to be solved for.
        most: tracks; of more, those seen most often are taken (spec section 4: 10 000; here each has a point of its own to solve for).
        tracks: with fewer nothing is solved.
        edge: relative difference of the depths around a pixel beyond which the depth there is not read.
    """

    visible: float = 0.5
    slots: int = 4
    per_frame: int = 12
    most: int = 1200
    tracks: int = 32
    edge: float = 0.15


@dataclass(frozen=True)
class Slots:
    """M slots of P static points in F images of one view.

    times (F,) time indices of the images, increasing; frame (M,) row of `times`; point (M,) 0 .. P - 1, each pair of both at most once;
    xy (M, 2) pixels; depth (M,) as the image's depth map has it, > 0; sure (M,) confidence of that depth; weight (M,) of the slot.
    """

    times: NDArray[np.int64]
    frame: NDArray[np.int64]
    point: NDArray[np.int64]
    xy: Array
    depth: Array
    sure: Array
    weight: Array

    @property
    def points(self) -> int:
        """P, the number of points."""
        return int(self.point.max()) + 1 if len(self.point) else 0

    def of(self, keep: NDArray[np.bool_]) -> Slots:
        """The slots where `keep` (M,) is true, points and images renumbered."""
        frames, frame = np.unique(self.frame[keep], return_inverse=True)
        _, point = np.unique(self.point[keep], return_inverse=True)
        parts = {k: getattr(self, k)[keep] for k in ("xy", "depth", "sure", "weight")}
        return replace(self, times=self.times[frames], frame=frame.astype(np.int64), point=point.astype(np.int64), **parts)


def static_slots(capture: Capture, view: int, tracks2d: Tracks2D, depth: Depth, masks: Masks, numbers: SlotNumbers = SlotNumbers()) -> Slots | None:
    """Slots of the tracks of `view` that are never seen on a mover, in its training images with a known camera; None where there are too few."""
    own = np.flatnonzero(tracks2d.view == view)
    strength = tracks2d.visibility[own].astype(np.float64) * tracks2d.confidence[own].astype(np.float64)
    known = np.isfinite(capture.world_to_camera[view]).all(axis=(1, 2)) & np.isfinite(capture.K[view]).all(axis=(1, 2))
    times = np.flatnonzero(capture.train[view] & capture.present[view] & known)
    moving = np.zeros(len(own), bool)
    parts: list[tuple[Array, ...]] = []
    for row, time in enumerate(times):
        seen = np.flatnonzero(strength[:, time] > numbers.visible)
        xy = tracks2d.xy[own[seen], time].astype(np.float64)
        mask = np.asarray(masks.mask[view][time])
        moving[seen] |= _nearest(mask, xy) > 0
        values = np.asarray(depth.depth[view][time], np.float64)
        inverse = np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)  # linear in the image where a surface is flat
        read = depth_inside(xy, inverse, mask < 0, numbers.edge)
        good = read > 0
        sure = _nearest(np.asarray(depth.confidence[view][time], np.float64), xy[good])
        seen = seen[good]
        parts.append((np.full(len(seen), row, float), seen.astype(float), *xy[good].T, 1 / read[good], sure, strength[seen, time]))
    if not parts:
        return None
    frame, point, x, y, z, sure, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    slots = Slots(times, frame.astype(np.int64), point.astype(np.int64), np.stack([x, y], axis=1), z, sure, weight)
    return _enough(slots.of(~moving[slots.point]), numbers)


def _enough(slots: Slots, numbers: SlotNumbers) -> Slots | None:
    """Tracks with too few slots and images with too few tracks are left out, until all have enough."""
    while len(slots.frame):
        often, full = np.bincount(slots.point), np.bincount(slots.frame)
        ranked = np.argsort(-often, kind="stable")[: numbers.most]
        chosen = np.zeros(len(often), bool)
        chosen[ranked[often[ranked] >= min(numbers.slots, len(slots.times))]] = True
        keep = chosen[slots.point] & (full >= numbers.per_frame)[slots.frame]
        if keep.all():
            break
        slots = slots.of(keep)
    return slots if slots.points >= numbers.tracks and len(slots.times) >= 2 else None


def _nearest(image: NDArray[np.generic], xy: Array) -> NDArray[np.generic]:
    column = np.clip(xy[:, 0].astype(int), 0, image.shape[1] - 1)
    return image[np.clip(xy[:, 1].astype(int), 0, image.shape[0] - 1), column]
