"""Following given pixels of one view through the clip: queries of all moments in one pass forward and one backward.

Source: spec sparse_dynamic_cameras.md section 2.2, with the steps of the classical tracker in the place of a learned one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Flow, Masks
from fourfold.priors.tracking.matches import moving_pixels
from fourfold.priors.tracking.track_step import Grey, MatchConfig, Points, agrees, correlation, grey_of, match, patches, sample

Follower = Callable[[Capture, int, Points, NDArray[np.int32]], tuple[Points, NDArray[np.bool_]]]
"""A 2D tracker: (capture, view, query pixels (N, 2), their time indices (N,)) -> positions (N, T, 2), seen (N, T).
The position at a query's own moment is the query, exactly."""


@dataclass(frozen=True)
class FollowConfig:
    """Numbers of the following.

    Attributes:
        match: one step.
        keep: correlation with the template above which drift is removed by matching to it.
        lost: correlation with the template below which the point is given up.
        renewals: how often a template may be renewed before the point is given up. Every renewal keeps the drift so far; queries of other
            moments go on where this one stops.
        margin: a point of a mover may be so many pixels outside its mask.
    """

    match: MatchConfig = field(default_factory=MatchConfig)
    keep: float = 0.85
    lost: float = 0.5
    renewals: int = 1
    margin: int = 2


@dataclass(frozen=True)
class _Clip:
    """Training frames of one view in order: time indices, grey images, where points may be (H, W) bool, flow to the next and the one before."""

    times: list[int]
    frames: list[Grey]
    allowed: list[NDArray[np.bool_]]
    forward: list[NDArray[np.float32]]
    backward: list[NDArray[np.float32]]


@dataclass
class _State:
    """Points under way: position, alive, the frame, position and patch each is compared with, and how often that was renewed."""

    xy: Points
    alive: NDArray[np.bool_]
    anchor: NDArray[np.int64]
    anchor_xy: Points
    template: NDArray[np.float32]
    renewed: NDArray[np.int64]


def follow_view(
    capture: Capture,
    view: int,
    xy: Points,
    time: NDArray[np.int32],
    masks: Masks,
    flow: Flow,
    config: FollowConfig = FollowConfig(),
) -> tuple[Points, NDArray[np.bool_]]:
    """Follow pixels `xy` (N, 2) of `view` from their time indices `time` (N,) to both ends of the clip.

    Returns:
        (N, T, 2) pixels, the query itself at its own moment and its last known place where lost, and (N, T) whether the point was seen.
    """
    clip = _prepare(capture, view, masks, flow, config.margin)
    full = np.repeat(np.asarray(xy, np.float32)[:, None], capture.times, axis=1)
    seen = np.zeros((len(xy), capture.times), bool)
    place = {t: i for i, t in enumerate(clip.times)}
    query = np.array([place.get(int(t), -1) for t in time], np.int64)
    count = len(clip.times)
    for order, step in ((range(count), 1), (range(count - 1, -1, -1), -1)):
        _sweep(clip, order, step, (xy, query), full, seen, config)
    return full, seen


def _sweep(
    clip: _Clip,
    order: Iterable[int],
    step: int,
    queries: tuple[Points, NDArray[np.int64]],
    full: Points,
    seen: NDArray[np.bool_],
    config: FollowConfig,
) -> None:
    """One direction: start each query when its frame comes, move all living points on; writes into `full` and `seen`."""
    xy, query = queries
    side = config.match.patch
    template = np.zeros((len(xy), side * side), np.float32)
    start = np.array(xy, np.float32)
    state = _State(start, np.zeros(len(xy), bool), query.copy(), start.copy(), template, np.zeros(len(xy), np.int64))
    for now in order:
        _move(clip, now - step, now, step, state, config)
        started = query == now
        state.alive |= started
        state.xy[started] = xy[started]
        state.template[started] = patches(clip.frames[now], state.xy[started], side)
        touched = started | (state.alive if step > 0 else state.alive & (query > now)) | ((query < now) if step > 0 else (query > now))
        full[touched, clip.times[now]] = state.xy[touched]
        seen[state.alive, clip.times[now]] = True


def _move(clip: _Clip, before: int, now: int, step: int, state: _State, config: FollowConfig) -> None:
    """Move the living from training frame `before` to its neighbour `now`, in place."""
    living = np.flatnonzero(state.alive)
    if len(living) == 0:
        return
    flow = clip.forward[before] if step > 0 else clip.backward[before - 1]
    old = state.xy[living].copy()
    moved, error = match(clip.frames[before], clip.frames[now], old, old + sample(flow, old), 1, config.match)
    good = (error < config.match.back_error) & _allowed(clip, now, moved)
    good[good] = agrees(old[good], (moved - old)[good], np.zeros(int(good.sum()), np.int32), config.match)
    state.alive[living[~good]] = False
    kept, old = living[good], old[good]
    state.xy[kept] = moved[good]
    _remove_drift(clip, before, now, kept, old, state, config)


def _remove_drift(clip: _Clip, before: int, now: int, kept: NDArray[np.intp], old: Points, state: _State, config: FollowConfig) -> None:
    """Match the survivors to their templates; renew templates that no longer look alike; give up what looks like neither."""
    second = clip.frames[now]
    for anchor in np.unique(state.anchor[kept]):
        own = kept[state.anchor[kept] == anchor]
        exact, error = match(clip.frames[int(anchor)], second, state.anchor_xy[own], state.xy[own], 0, config.match)
        near = (error < config.match.back_error) & (np.linalg.norm(exact - state.xy[own], axis=1) < 1.5)
        take = near & (correlation(state.template[own], patches(second, exact, config.match.patch)) > config.keep)
        state.xy[own[take]] = exact[take]
    alike = correlation(state.template[kept], patches(second, state.xy[kept], config.match.patch))
    weak = alike < config.keep
    changed = kept[weak]
    state.anchor[changed] = before
    state.anchor_xy[changed] = old[weak]
    state.template[changed] = patches(clip.frames[before], old[weak], config.match.patch)
    again = correlation(state.template[changed], patches(second, state.xy[changed], config.match.patch))
    state.renewed[changed] += 1
    state.alive[changed[(again < config.lost) | (state.renewed[changed] > config.renewals)]] = False


def _allowed(clip: _Clip, index: int, xy: Points) -> NDArray[np.bool_]:
    allowed = clip.allowed[index]
    height, width = allowed.shape
    inside = (xy >= 1).all(axis=1) & (xy[:, 0] < width - 1) & (xy[:, 1] < height - 1)
    column, row = np.clip(np.nan_to_num(xy).astype(int), 0, [width - 1, height - 1]).T
    return inside & allowed[row, column]


def _prepare(capture: Capture, view: int, masks: Masks, flow: Flow, margin: int) -> _Clip:
    times = [int(t) for t in np.flatnonzero(capture.train[view] & capture.present[view])]
    frames = [grey_of(np.asarray(capture.image(view, t))) for t in times]
    allowed = [moving_pixels(masks, (view, t), margin) for t in times]
    forward = [np.asarray(flow.forward[view][t], np.float32) for t in times[:-1]]
    backward = [np.asarray(flow.backward[view][t], np.float32) for t in times[1:]]
    return _Clip(times, frames, allowed, forward, backward)
