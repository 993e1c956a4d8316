"""2D tracks and depth to 3D tracks. Source: spec shape_of_motion.md section 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.geometry.spacing import neighbour_spacing
from fourfold.priors.contracts import Depth, Masks, Provenance, Tracks2D, Tracks3D
from fourfold.priors.tracking.track_step import sample


@dataclass(frozen=True)
class LiftConfig:
    """Numbers of the lifting.

    Attributes:
        visible: visibility times confidence above which a point counts as visible.
        keep_share, keep_quantile: a track stays if it is visible in at least min(share of T, this quantile of all tracks' counts) frames.
        depth_limit: depths beyond this many times the median over frames of the largest depth are cut to it.
        edge: relative difference of the depths of a pixel's four neighbours beyond which the depth there is not trusted.
    """

    visible: float = 0.5
    keep_share: float = 0.05
    keep_quantile: float = 0.1
    depth_limit: float = 2.5
    edge: float = 0.15


def lift_tracks(tracks2d: Tracks2D, depth: Depth, masks: Masks, capture: Capture, config: LiftConfig = LiftConfig()) -> Tracks3D:
    """Lift the tracks that lie on moving objects.

    A point is lifted at a frame where it is visible, inside the moving mask with all four pixels around it, and the depth is known there
    and not torn. Elsewhere its visibility and confidence are 0 and its position is interpolated linearly in time (constant at the ends).

    Args:
        tracks2d: visibility and confidence in [0, 1]; visible means their product is above `config.visible`.
        capture: with cameras.

    Returns:
        `Tracks3D` with native 0 and a single group per capture; empty if nothing moves.
    """
    points, times = tracks2d.xy.shape[:2]
    if tracks2d.visibility.shape != (points, times) or times != capture.times:
        raise FourfoldError(
            f"tracks of {points} points and {times} times do not fit visibility {tracks2d.visibility.shape} and a capture of {capture.times} times"
        )
    strength = tracks2d.visibility.astype(np.float32) * tracks2d.confidence.astype(np.float32)
    xyz = np.zeros((points, times, 3))
    weight = np.zeros((points, times), np.float32)
    for view in range(capture.views):
        own = np.flatnonzero(tracks2d.view == view)
        limit = config.depth_limit * _largest_depth(depth.depth[view])
        for time in range(times):
            if not (capture.train[view, time] and np.isfinite(capture.world_to_camera[view, time]).all()):
                continue
            seen = own[strength[own, time] > config.visible]
            z = depth_inside(tracks2d.xy[seen, time], depth.depth[view][time], masks.moving(view, time), config.edge)
            good = z > 0
            seen, z = seen[good], np.minimum(z[good], limit)
            xyz[seen, time] = unproject_points(tracks2d.xy[seen, time], z, capture.K[view, time], capture.world_to_camera[view, time])
            weight[seen, time] = tracks2d.confidence[seen, time].astype(np.float32)
    count = (weight > 0).sum(axis=1)
    alive = count > 0
    needed = min(int(config.keep_share * times), float(np.quantile(count[alive], config.keep_quantile))) if alive.any() else 1
    keep = np.flatnonzero(alive & (count >= max(1, needed)))
    filled = fill_between(xyz[keep], weight[keep] > 0)
    return _tracks(capture, tracks2d, keep, filled, weight[keep])


def _tracks(capture: Capture, tracks2d: Tracks2D, keep: NDArray[np.intp], xyz: NDArray[np.float64], weight: NDArray[np.float32]) -> Tracks3D:
    color = np.zeros((len(keep), 3), np.float32)
    for view, time in {(int(tracks2d.view[i]), int(tracks2d.query_time[i])) for i in keep}:
        rows = np.flatnonzero((tracks2d.view[keep] == view) & (tracks2d.query_time[keep] == time))
        color[rows] = sample(np.asarray(capture.image(view, time), np.float32), tracks2d.xy[keep[rows], time]) / 255
    provenance = Provenance(f"lifted {tracks2d.provenance.provider}", tracks2d.provenance.needs_weights, figures={"tracks": len(keep)})
    return solid_tracks(provenance, xyz, weight > 0, weight, color)


def solid_tracks(
    provenance: Provenance,
    xyz: NDArray[np.floating],
    visibility: NDArray[np.generic],
    confidence: NDArray[np.floating],
    color: NDArray[np.floating],
    *,
    native: NDArray[np.generic] | bool = False,
) -> Tracks3D:
    """One group of `Tracks3D` xyz (P, T, 3), visibility and confidence (P, T), color (P, 3) in [0, 1], native (P,) or of all; as far apart as at
    the moment at which most are visible."""
    count, middle = len(xyz), int(np.asarray(visibility, bool).sum(axis=0).argmax()) if len(xyz) else 0
    return Tracks3D(
        provenance,
        xyz.astype(np.float32),
        visibility.astype(np.float16),
        confidence.astype(np.float16),
        color.astype(np.float32),
        neighbour_spacing(xyz[:, middle], lonely=1.0),
        np.zeros(count, np.int32),
        np.broadcast_to(native, count).astype(np.uint8),
    )


def joined_tracks(parts: Sequence[Tracks3D], provenance: Provenance) -> Tracks3D:
    """The tracks of all parts; at least one."""
    names = [f.name for f in fields(Tracks3D) if f.name != "provenance"]
    return Tracks3D(provenance, *(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def empty_tracks(times: int, provider: str, notes: tuple[str, ...] = ()) -> Tracks3D:
    """`Tracks3D` without a track, for captures in which nothing moves."""
    nothing = np.zeros((0, times))
    return solid_tracks(Provenance(provider, notes=notes), np.zeros((0, times, 3)), nothing, nothing, np.zeros((0, 3)))


def unproject_points(
    xy: NDArray[np.floating], depth: NDArray[np.floating], K: NDArray[np.float64], world_to_camera: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N, 3) world points of (N, 2) pixels (centres at +0.5) at (N,) depths."""
    rays = np.concatenate([xy, np.ones((len(xy), 1))], axis=1) @ np.linalg.inv(K).T
    return (rays * np.asarray(depth)[:, None] - world_to_camera[:3, 3]) @ world_to_camera[:3, :3]


def fill_between(xyz: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(P, T, 3) positions with the unknown moments replaced by linear interpolation between known ones, constant beyond the ends."""
    filled = xyz.copy()
    moments = np.arange(xyz.shape[1])
    for row in np.flatnonzero(known.any(axis=1) & ~known.all(axis=1)):
        own = np.flatnonzero(known[row])
        for axis in range(3):
            filled[row, :, axis] = np.interp(moments, own, xyz[row, own, axis])
    return filled


def _largest_depth(depth: NDArray[np.floating]) -> float:
    largest = depth[:, ::2, ::2].reshape(len(depth), -1).max(axis=1).astype(np.float64)
    return float(np.median(largest[largest > 0])) if (largest > 0).any() else np.inf


def depth_inside(xy: NDArray[np.floating], depth: NDArray[np.floating], moving: NDArray[np.bool_] | None, edge: float) -> NDArray[np.float64]:
    """(N,) bilinear depth, 0 where a pixel around is outside the mask `moving` or unknown, or depths differ by more than the share `edge`."""
    height, width = depth.shape
    inside = (xy >= 0.5).all(axis=1) & (xy[:, 0] <= width - 0.5) & (xy[:, 1] <= height - 0.5)
    base = np.clip(np.floor(xy - 0.5).astype(int), 0, [max(width - 2, 0), max(height - 2, 0)])
    share = np.clip(xy - 0.5 - base, 0, 1)
    total, low, high = np.zeros(len(xy)), np.full(len(xy), np.inf), np.zeros(len(xy))
    for dy in (0, 1):
        for dx in (0, 1):
            row, column = np.minimum(base[:, 1] + dy, height - 1), np.minimum(base[:, 0] + dx, width - 1)
            weight = (share[:, 0] if dx else 1 - share[:, 0]) * (share[:, 1] if dy else 1 - share[:, 1])
            value = depth[row, column].astype(np.float64)
            needed = weight > 1e-6
            inside &= ~needed | ((value > 0) & (True if moving is None else moving[row, column]))
            total += weight * value
            low, high = np.where(needed, np.minimum(low, value), low), np.where(needed, np.maximum(high, value), high)
    return np.where(inside & (high <= (1 + edge) * low), total, 0)
