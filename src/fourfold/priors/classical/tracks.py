"""Long 2D tracks without learned weights: chained flow, Lucas-Kanade with drift control, re-detection. Source: spec himor_4dgs360.md 5.1."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.classical.track_step import (
    MatchConfig,
    Points,
    TrackFrame,
    agrees,
    correlation,
    match,
    neighbour_motion,
    patches,
    prepare_frame,
    sample,
)
from fourfold.priors.contracts import Flow, Masks, Provenance, Tracks2D
from fourfold.priors.providers import Provider


@dataclass(frozen=True)
class TrackConfig:
    """Numbers of the 2D tracks.

    Attributes:
        match: one step.
        queries: frames in which new tracks are started, spread over the clip.
        moving_points: tracks wanted on moving pixels per query frame; the grid's stride follows from it, within the next two numbers.
        least_stride, largest_stride: stride of the grid on moving pixels, pixels.
        corners: strongest corners started per query frame on the background.
        background_stride: stride of the grid on the background, pixels.
        keep_template: correlation with the template above which drift is removed by matching to it.
        lost: correlation with the template below which the point is lost.
        found: correlation with the template above which a lost point is found again.
        found_reach: how far from its predicted position a point may be found again, share of the image's diagonal.
        least_visible: share of the frames in which a track must be visible to be kept (at least two frames).
    """

    match: MatchConfig = field(default_factory=MatchConfig)
    queries: int = 8
    moving_points: int = 1500
    least_stride: int = 2
    largest_stride: int = 4
    corners: int = 300
    background_stride: int = 16
    keep_template: float = 0.75
    lost: float = 0.35
    found: float = 0.8
    found_reach: float = 0.04
    least_visible: float = 0.05


@dataclass(frozen=True)
class _Clip:
    """One view made ready: time indices, frames, labels (H, W) uint8 (1 moving, 0 background, 255 unusable) and flow between neighbours."""

    times: list[int]
    frames: list[TrackFrame]
    labels: list[NDArray[np.uint8]]
    forward: list[NDArray[np.float32]]
    backward: list[NDArray[np.float32]]


@dataclass
class _State:
    """Tracks under way: position, alive, last motion, and the template each is compared with (frame index, patch, position)."""

    xy: Points
    alive: NDArray[np.bool_]
    motion: Points
    anchor: NDArray[np.int64]
    anchor_xy: Points
    template: NDArray[np.float32]
    score: NDArray[np.float32]


def track_points(capture: Capture, masks: Masks | None = None, flow: Flow | None = None, config: TrackConfig | None = None) -> Tracks2D:
    """Track points through the training frames of every view.

    Args:
        capture: images; cameras are not needed.
        masks: moving pixels are tracked densely, a track stays on its side of the mask; None uses the capture's own or none.
        flow: between neighbouring training frames, used as the first guess; None computes it.

    Returns:
        `Tracks2D` over all T; between training frames the positions are interpolated and visibility is 0.
    """
    config = config or TrackConfig()
    views = [v for v in range(capture.views) if int((capture.train[v] & capture.present[v]).sum()) >= 2]
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        parts = list(pool.map(lambda v: _track_view(capture, v, masks, flow, config), views))
    joined = [np.concatenate([p[i] for p in parts]) if parts else _nothing(capture.times)[i] for i in range(5)]
    notes = () if len(joined[0]) else (f"no point of {capture.name} could be tracked over two frames",)
    figures = {"tracks": len(joined[0]), "mean_visible": round(float(joined[1].mean()), 4) if len(joined[0]) else 0.0}
    provenance = Provenance("chained_lucas_kanade", notes=notes, figures=figures)
    return Tracks2D(provenance, joined[0], joined[1].astype(np.float16), joined[2].astype(np.float16), joined[3], joined[4])


def _nothing(times: int) -> tuple[NDArray[np.generic], ...]:
    zeros = np.zeros((0, times), np.float32)
    return np.zeros((0, times, 2), np.float32), zeros, zeros, np.zeros(0, np.int32), np.zeros(0, np.int32)


def _track_view(capture: Capture, view: int, masks: Masks | None, flow: Flow | None, config: TrackConfig) -> tuple[NDArray[np.generic], ...]:
    clip = _prepare(capture, view, masks, flow, config)
    found: list[tuple[Points, NDArray[np.float32], NDArray[np.int32], int]] = []
    for query in _query_order(len(clip.frames), config.queries):
        points, group = _seeds(clip, query, found, config)
        if len(points):
            xy, score = _follow_both_ways(clip, query, points, group, config)
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


def _prepare(capture: Capture, view: int, masks: Masks | None, flow: Flow | None, config: TrackConfig) -> _Clip:
    times = [int(t) for t in np.flatnonzero(capture.train[view] & capture.present[view])]
    frames = [prepare_frame(np.asarray(capture.image(view, t))) for t in times]
    labels = []
    for t in times:
        mask = capture.mask(view, t) if masks is None else masks.mask[view][t]
        label = np.zeros(frames[0].grey.shape, np.uint8) if mask is None else (np.asarray(mask) > 0).astype(np.uint8)
        alpha = capture.alpha(view, t)
        labels.append(label if alpha is None else np.where(np.asarray(alpha) < 128, np.uint8(255), label))
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    forward, backward = [], []
    for index, (a, b) in enumerate(itertools.pairwise(times)):
        if flow is not None:
            forward.append(np.asarray(flow.forward[view][a], np.float32))
            backward.append(np.asarray(flow.backward[view][b], np.float32))
        else:
            forward.append(estimator.calc(frames[index].grey, frames[index + 1].grey, None))
            backward.append(estimator.calc(frames[index + 1].grey, frames[index].grey, None))
    return _Clip(times, frames, labels, forward, backward)


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
    clip: _Clip, query: int, found: Sequence[tuple[Points, NDArray[np.float32], NDArray[np.int32], int]], config: TrackConfig
) -> tuple[Points, NDArray[np.int32]]:
    """New points of a query frame where no visible track passes yet, and their group (1 moving, 0 background)."""
    label, grey = clip.labels[query], clip.frames[query].grey
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


def _follow_both_ways(clip: _Clip, query: int, points: Points, group: NDArray[np.int32], config: TrackConfig) -> tuple[Points, NDArray[np.float32]]:
    """(N, n, 2) positions and (N, n) scores (0 hidden) in all n training frames."""
    count = len(clip.frames)
    xy = np.repeat(points[:, None], count, axis=1)
    score = np.zeros((len(points), count), np.float32)
    score[:, query] = 1
    for step in (1, -1):
        state = _start(clip, query, points, config)
        for index in range(query + step, count if step > 0 else -1, step):
            _advance(clip, query, index - step, index, points, group, state, config)
            xy[:, index] = state.xy
            score[:, index] = np.where(state.alive, np.maximum(state.score, 0.05), 0)
    return xy, score


def _start(clip: _Clip, query: int, points: Points, config: TrackConfig) -> _State:
    template = patches(clip.frames[query], points, config.match.patch)
    alive = np.ones(len(points), bool)
    return _State(points.copy(), alive, np.zeros_like(points), np.full(len(points), query), points.copy(), template, np.ones(len(points), np.float32))


def _advance(clip: _Clip, query: int, before: int, now: int, points: Points, group: NDArray[np.int32], state: _State, config: TrackConfig) -> None:
    """Move all tracks from training frame `before` to its neighbour `now`, in place."""
    first, second = clip.frames[before], clip.frames[now]
    flow = clip.forward[before] if now > before else clip.backward[before - 1]
    living = np.flatnonzero(state.alive)
    old = state.xy.copy()
    guess = old[living] + sample(flow, old[living])
    moved, error = match(first, second, old[living], guess, 1, config.match)
    good = (error < config.match.back_error) & _fits(clip, now, moved, group[living])
    good[good] = agrees(old[living][good], (moved - old[living])[good], group[living][good], config.match)
    state.alive[living[~good]] = False
    kept = living[good]
    state.xy[kept] = moved[good]
    _remove_drift(clip, before, now, kept, old, state, config)
    kept = np.flatnonzero(state.alive)
    lost = np.flatnonzero(~state.alive)
    carried = neighbour_motion(old[kept], state.xy[kept] - old[kept], group[kept], old[lost], group[lost], config.match.neighbours)
    state.xy[lost] = old[lost] + np.where(np.isfinite(carried), carried, 0.9 * state.motion[lost])
    _find_again(clip, query, now, points, group, lost, state, config)
    state.motion = state.xy - old


def _fits(clip: _Clip, index: int, xy: Points, group: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether points are inside the image and on their side of the mask (2 px of tolerance for moving ones)."""
    label = clip.labels[index]
    height, width = label.shape
    inside = (xy >= 1).all(axis=1) & (xy[:, 0] < width - 1) & (xy[:, 1] < height - 1)
    column, row = np.clip(xy[:, 0].astype(int), 0, width - 1), np.clip(xy[:, 1].astype(int), 0, height - 1)
    near_moving = cv2.dilate((label == 1).astype(np.uint8), np.ones((5, 5), np.uint8))
    return inside & np.where(group == 1, near_moving[row, column] > 0, label[row, column] == 0)


def _remove_drift(clip: _Clip, before: int, now: int, kept: NDArray[np.intp], old: Points, state: _State, config: TrackConfig) -> None:
    """Match the survivors to their templates; renew templates that no longer look alike; drop points that look wrong."""
    second = clip.frames[now]
    for anchor in np.unique(state.anchor[kept]):
        own = kept[state.anchor[kept] == anchor]
        exact, error = match(clip.frames[int(anchor)], second, state.anchor_xy[own], state.xy[own], 0, config.match)
        near = (error < config.match.back_error) & (np.linalg.norm(exact - state.xy[own], axis=1) < 1.5)
        alike = correlation(state.template[own], patches(second, exact, config.match.patch))
        take = near & (alike > config.keep_template)
        state.xy[own[take]] = exact[take]
    seen = correlation(state.template[kept], patches(second, state.xy[kept], config.match.patch))
    flat = np.abs(state.template[kept]).sum(axis=1) == 0
    state.score[kept] = np.where(flat, 0.5, np.clip(seen, 0, 1))
    changed = kept[(seen < config.keep_template) & ~flat]
    state.anchor[changed] = before
    state.anchor_xy[changed] = old[changed]
    state.template[changed] = patches(clip.frames[before], old[changed], config.match.patch)
    again = correlation(state.template[changed], patches(second, state.xy[changed], config.match.patch))
    state.score[changed] = np.maximum(state.score[changed], 0.7 * np.clip(again, 0, 1))
    state.alive[changed[again < config.lost]] = False


def _find_again(
    clip: _Clip, query: int, now: int, points: Points, group: NDArray[np.int32], lost: NDArray[np.intp], state: _State, config: TrackConfig
) -> None:
    """Look for lost points around their predicted positions with the template of the query frame."""
    inside = lost[_fits(clip, now, state.xy[lost], group[lost])]
    if len(inside) == 0:
        return
    second = clip.frames[now]
    template = patches(clip.frames[query], points[inside], config.match.patch)
    there, error = match(clip.frames[query], second, points[inside], state.xy[inside], 1, config.match)
    alike = correlation(template, patches(second, there, config.match.patch))
    reach = config.found_reach * float(np.hypot(*second.grey.shape))
    good = (error < config.match.back_error) & (alike > config.found) & (np.linalg.norm(there - state.xy[inside], axis=1) < reach)
    good &= _fits(clip, now, there, group[inside])
    back = inside[good]
    state.xy[back] = there[good]
    state.alive[back] = True
    state.score[back] = alike[good]
    state.anchor[back] = query
    state.anchor_xy[back] = points[back]
    state.template[back] = template[good]


def _cannot(capture: Capture) -> str | None:
    return None if (capture.train & capture.present).sum(axis=1).max() >= 2 else "no view has two training frames"


PROVIDERS = (Provider("chained_lucas_kanade", ("tracks2d",), ("masks", "flow"), 10, _cannot, lambda c, p: [track_points(c, p.masks, p.flow)]),)
