"""The anchoring driver: windows over the clip, anchors set before every iteration, a forward and a backward pass.

Source: spec himor_4dgs360.md section 5, rules 3, 4 and 6, and section 5.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError
from fourfold.priors.anchored_tracking.anchors import AnchorNumbers, Anchors, outside_mask
from fourfold.priors.anchored_tracking.interface import Clip, Iterate, IterTracker3D, Window
from fourfold.priors.anchored_tracking.rigid_parts import PartNumbers, settle_hidden

SURE_LOGIT = 9.0
"""Visibility logit of an anchored entry, and of one that no window has seen yet."""
UNANCHORED = 0.3
"""Weight of a visible entry that no 2D track anchors, times its confidence, beside an anchor's 1."""


@dataclass(frozen=True)
class PointTracks:
    """N points through a clip: xyz (T, N, 3) world, visibility and confidence (T, N) in [0, 1], kept (N,) False where the track is not believed."""

    xyz: NDArray[np.float64]
    visibility: NDArray[np.float64]
    confidence: NDArray[np.float64]
    kept: NDArray[np.bool_]


def track_anchored(
    clip: Clip, tracker: IterTracker3D, anchors: Anchors, numbers: AnchorNumbers = AnchorNumbers(), parts: PartNumbers = PartNumbers()
) -> PointTracks:
    """Track the queries of `anchors` through `clip`; strong entries hold the tracker in place.

    Hidden entries are settled by the rigid parts of the whole clip.

    Frames before a query come from a second pass over the reversed clip, or, for a tracker that is not bidirectional, from the first.

    Raises:
        FourfoldError: the anchors do not fit the clip.
    """
    times, count = anchors.strong.shape
    if times != len(clip) or ((anchors.query_time < 0) | (anchors.query_time >= times)).any():
        raise FourfoldError(f"anchors of {times} frames with queries in {anchors.query_time.min(initial=0)} .. do not fit a clip of {len(clip)}")
    if count == 0:
        return PointTracks(np.zeros((times, 0, 3)), np.zeros((times, 0)), np.zeros((times, 0)), np.zeros(0, bool))
    xyz, visibility, confidence = _one_way(clip, tracker, anchors, numbers)
    if tracker.bidirectional:
        back = [values[::-1] for values in _one_way(clip.reversed(), tracker, anchors.reversed(), numbers)]
        before = np.arange(times)[:, None] < anchors.query_time
        xyz = np.where(before[..., None], back[0], xyz)
        visibility, confidence = np.where(before, back[1], visibility), np.where(before, back[2], confidence)
    known = np.where(anchors.strong, 1.0, UNANCHORED * np.where(visibility > 0.5, visibility * confidence, 0))
    xyz = settle_hidden(xyz, known, parts)
    visible = visibility >= numbers.visible
    wrong = outside_mask(xyz, visible & ~anchors.strong, clip, numbers)
    kept = wrong.sum(0) <= numbers.outside * np.maximum(visible.sum(0), 1)
    return PointTracks(xyz, np.where(wrong, 0, visibility), np.where(wrong, 0, confidence), kept)


def window_starts(times: int, window: int, stride: int) -> list[int]:
    """First frames of the windows over `times` frames; the last window ends with the clip, so that none reaches beyond it."""
    last = max(times - window, 0)
    return [*range(0, last, stride), last]


def _one_way(
    clip: Clip, tracker: IterTracker3D, anchors: Anchors, numbers: AnchorNumbers
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """xyz (T, N, 3), visibility and confidence (T, N) of one pass; before a query they mean nothing."""
    times = len(clip)
    xyz = np.repeat(anchors.query_xyz[None], times, axis=0)
    logit = np.full(anchors.strong.shape, SURE_LOGIT)
    confidence = np.ones(anchors.strong.shape)
    context = tracker.encode(clip)
    anchors = anchors.taken_up(numbers.gap) if numbers.gap >= 0 else anchors
    done = 0
    for start in window_starts(times, tracker.window, tracker.stride):
        end = min(start + tracker.window, times)
        rows = np.flatnonzero(anchors.query_time < end)
        if len(rows) == 0:
            continue
        if done > start:  # the frames that are new repeat the last known one, for points that were known then
            old = rows[anchors.query_time[rows] < done]
            xyz[done:end, old], logit[done:end, old] = xyz[done - 1, old], logit[done - 1, old]
        state = _run_window(tracker, context, (start, end), rows, anchors, numbers, (xyz, logit))
        xyz[start:end, rows] = state.xyz
        logit[start:end, rows] = state.visibility_logit
        confidence[start:end, rows] = _sigmoid(state.visibility_logit if state.confidence_logit is None else state.confidence_logit)
        done = end
    return xyz, _sigmoid(logit), confidence


def _run_window(
    tracker: IterTracker3D,
    context: object,
    span: tuple[int, int],
    rows: NDArray[np.intp],
    anchors: Anchors,
    numbers: AnchorNumbers,
    known: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Iterate:
    """All iterations of one window, from the `known` xyz (T, N, 3) and visibility logits (T, N); anchors are set before each, and after the
    last where asked. A window begins with the logits that the last one ended with: probabilities would round those of a learned network."""
    frames = slice(*span)
    xyz, logit = known[0][frames][:, rows], known[1][frames][:, rows]
    window = Window(*span, rows, anchors.query_time[rows], anchors.query_xyz[rows], xyz, _sigmoid(logit))
    fixed, places = anchors.strong[frames][:, rows], anchors.xyz[frames][:, rows]
    opened = tracker.open_window(context, window)
    state = Iterate(xyz, logit)
    for iteration in range(tracker.iterations):
        state = tracker.step(opened, _held(state, fixed, places), fixed, iteration)
    if numbers.final_overwrite:
        state = _held(state, fixed, places)
    tracker.close_window(opened, state)
    return state


def _held(state: Iterate, fixed: NDArray[np.bool_], places: NDArray[np.float64]) -> Iterate:
    """`state` with the anchored entries at their places, visible and sure."""
    confidence = None if state.confidence_logit is None else np.where(fixed, SURE_LOGIT, state.confidence_logit)
    return Iterate(np.where(fixed[..., None], places, state.xyz), np.where(fixed, SURE_LOGIT, state.visibility_logit), confidence)


def _sigmoid(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-np.clip(logit, -50, 50)))
