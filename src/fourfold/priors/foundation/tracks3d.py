"""What the 3D trackers share: queries lifted by the depth prior, and results as `Tracks3D` on the capture's time axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.geometry.spacing import neighbour_spacing
from fourfold.priors.contracts import Depth, Masks, Provenance, Tracks3D
from fourfold.priors.foundation.video import Array, QueryNumbers, at_times, on_all_times, query_points, training_times
from fourfold.priors.tracking.lift import depth_inside, empty_tracks, joined_tracks, unproject_points
from fourfold.priors.tracking.track_step import sample

EDGE = 0.15
"""Relative difference of the depths around a query beyond which it is not believed."""
MOVING_ONLY = QueryNumbers(moving=500, background=0)


def usable_times(capture: Capture, view: int) -> list[int]:
    """Training time indices of `view` at which its camera is known."""
    known = np.isfinite(capture.world_to_camera[view]).all(axis=(1, 2)) & np.isfinite(capture.K[view]).all(axis=(1, 2))
    return [t for t in training_times(capture, view) if known[t]]


def lifted_queries(
    capture: Capture, masks: Masks | None, depth: Depth, view: int, times: Sequence[int], numbers: QueryNumbers = MOVING_ONLY
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Query points (N, 3) (row of `times`, x, y) of moving pixels with a sound depth, that depth (N,), and their places in the world (N, 3)."""
    queries = query_points(capture, masks, view, times, numbers)
    z, xyz = np.zeros(len(queries)), np.zeros((len(queries), 3))
    for row, time in enumerate(times):
        own = np.flatnonzero(queries[:, 0] == row)
        z[own] = depth_inside(queries[own, 1:], depth.depth[view][time], None, EDGE)
        xyz[own] = unproject_points(queries[own, 1:], z[own], capture.K[view, time], capture.world_to_camera[view, time])
    good = z > 0
    return queries[good], z[good], xyz[good]


def as_tracks(
    capture: Capture,
    name: str,
    view: int,
    times: Sequence[int],
    queries: NDArray[np.float32],
    xyz: Array,
    visibility: Array,
) -> Tracks3D:
    """`Tracks3D` of one view's queries.

    Args:
        queries: (N, 3) row of `times`, x, y. xyz: (N, T, 3) world. visibility: (N, T) probability; it is the confidence as well.
    """
    if not len(queries):
        return empty_tracks(capture.times, name, ("no moving point with a depth to start from was found",))
    color = np.zeros((len(queries), 3), np.float32)
    for row, time in enumerate(times):
        own = np.flatnonzero(queries[:, 0] == row)
        color[own] = sample(np.asarray(capture.image(view, time), np.float32), queries[own, 1:]) / 255
    seen = at_times(visibility, times, capture.times).astype(np.float16)
    ones = np.ones(len(queries))
    first = xyz[np.arange(len(xyz)), queries[:, 0].astype(int)]
    return Tracks3D(
        Provenance(name, needs_weights=True, figures={"tracks": len(queries)}),
        on_all_times(xyz, times, capture.times),
        seen,
        seen,
        color,
        neighbour_spacing(first, lonely=1.0),
        np.zeros(len(queries), np.int32),
        ones.astype(np.uint8),
    )


def joined(parts: Sequence[Tracks3D]) -> Tracks3D:
    """The tracks of several views as one; at least one part."""
    best = max(parts, key=lambda p: len(p.xyz))
    return joined_tracks(parts, Provenance(best.provenance.provider, True, best.provenance.notes, {"tracks": sum(len(p.xyz) for p in parts)}))
