"""Which frames structure from motion gets, and which of them are worth matching.

One moving camera: near in time, and 2^k ahead. Several cameras: every camera with every other at the same moment and 1, 2, 4, ... moments
away on both sides, since things near in time look alike while the cameras wander. Source: spec sparse_dynamic_cameras.md section 6.
A camera that stands still has one pose: a few of its middle frames are enough, and they are never matched with one another.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture


@dataclass(frozen=True)
class PairConfig:
    """Numbers of the choice of frames and pairs.

    Attributes:
        overlap: how many following frames each frame of a view is matched with.
        max_frames: frames given to the mapper, of each view of one or two and of all views together of more; of more every k-th is taken.
        still_frames: middle frames taken of a camera that stands still beside others.
        still: pixels at 640 longer side that corners may move in a camera that stands still.
        probes: frames in which that is looked at.
    """

    overlap: int = 8
    max_frames: int = 120
    still_frames: int = 3
    still: float = 0.5
    probes: int = 6


@dataclass(frozen=True)
class FrameChoice:
    """The F frames (view, time index) that structure from motion gets, and which views (V,) stand still."""

    frames: list[tuple[int, int]]
    still: NDArray[np.bool_]

    def pairs(self, config: PairConfig) -> list[tuple[int, int]]:
        """Rows of `frames` worth matching."""
        return candidate_pairs(self.frames, config, {int(v) for v in np.flatnonzero(self.still)})


def choose_frames(capture: Capture, config: PairConfig = PairConfig()) -> FrameChoice:
    """Frames for the mapper: every present one, or every k-th of a long clip with its ends; of cameras that stand still only middle ones."""
    still = np.zeros(capture.views, bool)
    if capture.views > 1:
        still = np.array([stands_still(capture, view, config) for view in range(capture.views)])
    moving = int((~still).sum())
    limit = config.max_frames if moving <= 2 else max(12, 2 * config.max_frames // moving)
    frames: list[tuple[int, int]] = []
    for view in range(capture.views):
        times = np.flatnonzero(capture.present[view])
        if still[view]:
            chosen = times[np.unique(np.clip(len(times) // 2 + np.arange(config.still_frames) - config.still_frames // 2, 0, len(times) - 1))]
        else:
            chosen = np.unique(np.append(times[:: -(-len(times) // limit)], times[-1:]))
        frames += [(view, int(t)) for t in chosen]
    return FrameChoice(frames, still)


def candidate_pairs(frames: list[tuple[int, int]], config: PairConfig = PairConfig(), still: Collection[int] = ()) -> list[tuple[int, int]]:
    """Rows of `frames` (view, time) worth matching.

    Within a view that moves: the next `overlap` frames and those 8, 16, 32 and 64 ahead. Between views: steps of 0, 1, 2, 4, ..., 2^floor(log2 T)
    among the T chosen moments, on both sides; with a view in `still` every frame.
    """
    moments = sorted({t for v, t in frames if v not in still} or {t for _, t in frames})
    place = {t: i for i, t in enumerate(moments)}
    rows = {v: [i for i, (w, _) in enumerate(frames) if w == v] for v in sorted({v for v, _ in frames})}
    pairs: set[tuple[int, int]] = set()
    ahead = {*range(1, config.overlap + 1), *(2**k for k in range(3, 7))}
    for view, mine in rows.items():
        if view not in still:
            pairs |= {(mine[i], mine[i + s]) for s in ahead for i in range(len(mine) - s)}
    steps = {0, *(2**k for k in range(max(len(moments), 1).bit_length()))}
    for first, mine in rows.items():
        for second, other in rows.items():
            if first >= second:
                continue
            everything = first in still or second in still
            pairs |= {
                (a, b) for a in mine for b in other if everything or abs(place[frames[a][1]] - place[frames[b][1]]) in steps
            }  # fmt: skip
    return sorted(pairs)


def stands_still(capture: Capture, view: int, config: PairConfig = PairConfig()) -> bool:
    """Whether the corners of a view's first frame are where they were in its other frames, by their median: things that move are the fewer."""
    times = np.flatnonzero(capture.present[view])
    if len(times) < 2:
        return True
    probes = times[np.unique(np.linspace(0, len(times) - 1, config.probes + 1).astype(int))]
    grey = [cv2.cvtColor(np.ascontiguousarray(capture.image(view, int(t))), cv2.COLOR_RGB2GRAY) for t in probes]
    corners = cv2.goodFeaturesToTrack(grey[0], 400, 0.01, 5)
    if corners is None or len(corners) < 20:
        return False
    limit = config.still * max(grey[0].shape) / 640
    for other in grey[1:]:
        there, ok, _ = cv2.calcOpticalFlowPyrLK(grey[0], other, corners, None, winSize=(15, 15), maxLevel=3)
        good = ok.ravel() > 0
        if good.sum() < 20 or np.median(np.linalg.norm((there - corners)[good, 0], axis=1)) > limit:
            return False
    return True
