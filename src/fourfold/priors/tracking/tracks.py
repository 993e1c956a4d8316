"""Long 2D tracks without learned weights: where they start, in which frames, and their place in the capture. Source: spec himor_4dgs360.md 5.1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.counting import counted
from fourfold.priors.contracts import Flow, Masks, Priors, Provenance, Tracks2D
from fourfold.priors.providers import Provider
from fourfold.priors.tracking.track_follow import UNDECIDED, Clip, FollowConfig, follow_both_ways, widened
from fourfold.priors.tracking.track_step import Points, grey_of
from fourfold.priors.tracking.track_template import smooth
from fourfold.threads import in_threads


@dataclass(frozen=True)
class TrackConfig:
    """Numbers of the 2D tracks.

    Attributes:
        follow: following points from frame to frame.
        queries: frames in which new tracks are started, spread over the clip.
        moving_points: tracks wanted on moving pixels per query frame; the grid's stride follows from it, within the next two numbers.
        least_stride, largest_stride: stride of the grid on moving pixels, pixels.
        corners: strongest corners started per query frame on the background.
        background_stride: stride of the grid on the background, pixels.
        least_visible: share of the frames in which a track must be visible to be kept (at least two frames).
    """

    follow: FollowConfig = field(default_factory=FollowConfig)
    queries: int = 8
    moving_points: int = 1500
    least_stride: int = 2
    largest_stride: int = 4
    corners: int = 300
    background_stride: int = 16
    least_visible: float = 0.05


def track_points(capture: Capture, masks: Masks, flow: Flow, config: TrackConfig = TrackConfig()) -> Tracks2D:
    """Track points through the training frames of every view.

    Args:
        capture: images; cameras are not needed.
        masks: moving pixels are tracked densely, a track stays on its side of the mask.
        flow: between neighbouring training frames, used as the first guess.

    Returns:
        `Tracks2D` over all T; between training frames the positions are interpolated and visibility is 0.
    """
    views = [v for v in range(capture.views) if int((capture.train[v] & capture.present[v]).sum()) >= 2]
    if len(views) == 1:
        parts = [_track_view(capture, views[0], masks, flow, config)]
    else:
        parts = list(counted(in_threads(lambda v: _track_view(capture, v, masks, flow, config), views), "views", len(views)))
    joined = [np.concatenate([p[i] for p in parts]) if parts else _nothing(capture.times)[i] for i in range(5)]
    notes = () if len(joined[0]) else (f"no point of {capture.name} could be tracked over two frames",)
    figures = {"tracks": len(joined[0]), "mean_visible": round(float(joined[1].mean()), 4) if len(joined[0]) else 0.0}
    provenance = Provenance("chained_lucas_kanade", notes=notes, figures=figures)
    return Tracks2D(provenance, joined[0], joined[1].astype(np.float16), joined[2].astype(np.float16), joined[3], joined[4])


def _nothing(times: int) -> tuple[NDArray[np.generic], ...]:
    zeros = np.zeros((0, times), np.float32)
    return np.zeros((0, times, 2), np.float32), zeros, zeros, np.zeros(0, np.int32), np.zeros(0, np.int32)


def _track_view(capture: Capture, view: int, masks: Masks, flow: Flow, config: TrackConfig) -> tuple[NDArray[np.generic], ...]:
    clip = _prepare(capture, view, masks, flow, config)
    found: list[tuple[Points, NDArray[np.float32], NDArray[np.int32], int]] = []
    for query in counted(_query_order(len(clip.frames), config.queries)):
        points, group = _seeds(clip, query, found, config)
        if len(points):
            xy, score = follow_both_ways(clip, query, points, group, config.follow)
            found.append((xy, score, group, query))
    if not found:
        return _nothing(capture.times)
    xy = np.concatenate([f[0] for f in found])
    score = np.concatenate([f[1] for f in found])
    query_time = np.concatenate([np.full(len(f[0]), clip.times[f[3]], np.int32) for f in found])
    keep = (score > 0).sum(axis=1) >= max(2, int(config.least_visible * len(clip.frames)))
    return _spread(capture.times, clip.times, xy[keep], score[keep], view, query_time[keep])


def _spread(
    times: int, known: Sequence[int], xy: Points, score: NDArray[np.float32], view: int, query_time: NDArray[np.int32]
) -> tuple[NDArray[np.generic], ...]:
    """Put the training frames' results on the full time axis; positions in between are linear."""
    full = np.zeros((len(xy), times, 2), np.float32)
    position = np.clip(np.interp(np.arange(times), known, np.arange(len(known))), 0, len(known) - 1)
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, len(known) - 1)
    share = (position - low)[None, :, None].astype(np.float32)
    full[:] = xy[:, low] * (1 - share) + xy[:, high] * share
    confidence = np.zeros((len(xy), times), np.float32)
    confidence[:, list(known)] = score
    return full, (confidence > 0).astype(np.float32), confidence, np.full(len(xy), view, np.int32), query_time


def _prepare(capture: Capture, view: int, masks: Masks, flow: Flow, config: TrackConfig) -> Clip:
    times = [int(t) for t in np.flatnonzero(capture.train[view] & capture.present[view])]
    grey = [grey_of(capture.image(view, t)) for t in times]
    labels = []
    for t in times:
        label = np.choose(np.asarray(masks.mask[view][t]) + 1, (0, UNDECIDED, 1)).astype(np.uint8)
        alpha = capture.alpha(view, t)
        labels.append(label if alpha is None else np.where(np.asarray(alpha) < 128, np.uint8(255), label))
    forward = [np.asarray(flow.forward[view][t], np.float32) for t in times[:-1]]
    backward = [np.asarray(flow.backward[view][t], np.float32) for t in times[1:]]
    frames = [smooth(g, config.follow.template) for g in grey]
    return Clip(times, frames, labels, [widened(label) for label in labels], forward, backward)


def _query_order(frames: int, queries: int) -> list[int]:
    """Query frames: the middle first, then the ends, then ever finer in between."""
    wanted = min(queries, frames)
    grid = np.unique(np.linspace(0, frames - 1, max(wanted, 2)).round().astype(int)) if wanted > 1 else np.array([frames // 2])
    order = [int(grid[len(grid) // 2])]
    while len(order) < len(grid):
        gap = np.abs(grid[:, None] - np.array(order)).min(axis=1)
        order.append(int(grid[gap.argmax()]))
    return order


def _seeds(
    clip: Clip, query: int, found: Sequence[tuple[Points, NDArray[np.float32], NDArray[np.int32], int]], config: TrackConfig
) -> tuple[Points, NDArray[np.int32]]:
    """New points of a query frame where no visible track passes yet, and their group (1 moving, 0 background)."""
    label, grey = clip.labels[query], clip.frames[query]
    height, width = grey.shape
    moving = cv2.erode((label == 1).astype(np.uint8), np.ones((3, 3), np.uint8))
    stride = int(np.clip(np.sqrt(moving.sum() / config.moving_points), config.least_stride, config.largest_stride))
    still = (label == 0).astype(np.uint8) * (cv2.dilate((label == 1).astype(np.uint8), np.ones((5, 5), np.uint8)) == 0)
    corners = cv2.goodFeaturesToTrack(grey, config.corners, 0.005, max(4, config.background_stride // 2), mask=still.astype(np.uint8))
    candidates = [(_grid(moving, stride), 1, stride), (_grid(still, config.background_stride), 0, config.background_stride)]
    if corners is not None:
        candidates.insert(1, (corners.reshape(-1, 2) + np.float32(0.5), 0, config.background_stride // 2))
    points, groups = [], []
    taken = [(f[0][:, query][(f[1][:, query] > 0)], f[2][f[1][:, query] > 0]) for f in found]
    for candidate, group, spacing in candidates:
        cells = np.zeros((height // spacing + 2, width // spacing + 2), bool)
        for xy, owner in [*taken, *((p, np.full(len(p), group)) for p, g in zip(points, groups, strict=True) if g[0] == group)]:
            own = np.clip(xy[owner == group], 0, [width - 1, height - 1]).astype(int) // spacing
            cells[own[:, 1], own[:, 0]] = True
        cell = candidate.astype(int) // spacing
        free = candidate[~cells[cell[:, 1], cell[:, 0]]] if len(candidate) else candidate
        if len(free):
            points.append(free.astype(np.float32))
            groups.append(np.full(len(free), group, np.int32))
    if not points:
        return np.zeros((0, 2), np.float32), np.zeros(0, np.int32)
    return np.concatenate(points), np.concatenate(groups)


def _grid(mask: NDArray[np.uint8], stride: int) -> Points:
    height, width = mask.shape
    rows, columns = np.meshgrid(np.arange(stride // 2, height, stride), np.arange(stride // 2, width, stride), indexing="ij")
    inside = mask[rows, columns] > 0
    return np.stack([columns[inside], rows[inside]], axis=1).astype(np.float32) + np.float32(0.5)


def _cannot(capture: Capture) -> str | None:
    return None if (capture.train & capture.present).sum(axis=1).max() >= 2 else "no view has two training frames"


def _make(capture: Capture, priors: Priors) -> list[Tracks2D]:
    return [track_points(capture, priors.require(Masks), priors.require(Flow))]


PROVIDERS = (Provider("chained_lucas_kanade", ("tracks2d",), ("masks", "flow"), 10, _cannot, _make, version=3),)
