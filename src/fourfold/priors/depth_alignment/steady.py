"""Depth that agrees over time, from one camera's own frames: each pixel's neighbours in time, found by optical flow, vote on its depth.

Estimates made anew at every moment flicker: what is wrong at one moment is seldom wrong at the next. One camera alone cannot tell the
scale, so the result is relative (its median is 1) and is brought back by `scales.align_depth`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Depth, Flow, Provenance

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class SteadyNumbers:
    """How neighbours vote.

    Attributes:
        reach: frames to either side.
        trusted: confidence of the flow below which a chain of frames ends.
        agree: neighbours count whose depth differs by less than this share from the pixel's own: beyond it lies another surface.
    """

    reach: int = 3
    trusted: float = 0.4
    agree: float = 0.25


def steady_depth(capture: Capture, depth: Depth, flow: Flow, numbers: SteadyNumbers = SteadyNumbers()) -> Depth:
    """The weighted median over neighbouring frames of each pixel's depth, divided by its median over the view's frames."""
    values, sure = [], []
    for view in range(capture.views):
        times = np.flatnonzero(capture.train[view])
        one, trust = np.array(depth.depth[view], np.float32), np.array(depth.confidence[view], np.float16)
        known = one[times] > 0 if len(times) else np.zeros(0, bool)
        if known.any():
            smooth = np.stack([_voted(one, flow, view, times, k, numbers) for k in range(len(times))])
            one[times] = smooth / float(np.median(smooth[known]))
        values.append(one)
        sure.append(trust)
    made = depth.provenance
    return Depth(Provenance(f"steady {made.provider}", made.needs_weights, (), {"scale": "relative"}), tuple(values), tuple(sure))


def _voted(depth: Array, flow: Flow, view: int, times: NDArray[np.int64], k: int, numbers: SteadyNumbers) -> Array:
    """(H, W) depth at the k-th of `times` with its neighbours' votes."""
    own = depth[times[k]]
    votes = [own]
    for forth in (True, False):
        fields, sures = (flow.forward[view], flow.forward_confidence[view]) if forth else (flow.backward[view], flow.backward_confidence[view])
        y, x = np.mgrid[0 : own.shape[0], 0 : own.shape[1]].astype(np.float32)
        alive = np.ones(own.shape, bool)
        at = k
        for _ in range(numbers.reach):
            following = at + (1 if forth else -1)
            if not 0 <= following < len(times):
                break
            step, trust = (np.asarray(a[times[at]], np.float32) for a in (fields, sures))
            alive &= _read(trust, x, y) >= numbers.trusted
            dx, dy = _read(step[..., 0], x, y), _read(step[..., 1], x, y)
            x, y, at = x + dx, y + dy, following
            there = cv2.remap(np.asarray(depth[times[at]], np.float32), np.rint(x), np.rint(y), cv2.INTER_NEAREST, borderValue=0.0)
            near = alive & (there > 0) & (np.abs(there - own) < numbers.agree * own)
            votes.append(np.where(near, there, np.nan).astype(np.float32))
    stack = np.stack(votes)
    stack[0][own <= 0] = np.nan
    ordered = np.sort(stack, axis=0)  # NaN goes last
    count = np.isfinite(ordered).sum(axis=0)
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    high = np.minimum(high, np.maximum(count - 1, 0))
    middle = (np.take_along_axis(ordered, low[None], 0)[0] + np.take_along_axis(ordered, high[None], 0)[0]) / 2
    return np.where(own > 0, np.nan_to_num(middle), 0).astype(np.float32)


def _read(image: Array, x: Array, y: Array) -> Array:
    return cv2.remap(np.ascontiguousarray(image, np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
