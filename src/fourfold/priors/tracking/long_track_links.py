"""Points that were lost and come back: a hidden point moves on with those that moved like it and is found again where its patch is seen.

The patch where the track began decides, forward and backward; the motion of neighbours only says where to look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fourfold.priors.tracking.track_anchor import AnchorConfig, Anchors, Points, align, anchor


@dataclass(frozen=True)
class LinkConfig:
    """Numbers of finding points again. Pixels are those of the tracking images.

    Attributes:
        gap: frames over which a point may be hidden.
        least: observations a track must have had: what was hardly seen cannot be told from its like.
        neighbours: followed points around a hidden one that are asked how it moves.
        like: pixels by which the motions of points that move alike differ.
        steps: of the alignment; more than from frame to frame since the place is a guess.
        alike: correlation of the patch, as it began and as it is now, above which it is the same.
        astray: pixels from the predicted place where the point may be found, and as much again after `gap` frames.
        back_error: pixels by which the way back to the last sight may miss.
    """

    gap: int = 8
    least: int = 4
    neighbours: int = 24
    like: float = 1.0
    steps: int = 4
    alike: float = 0.92
    astray: float = 2.0
    back_error: float = 0.5


@dataclass(frozen=True)
class Followed:
    """N tracks under way: track (N,) number, count (N,) observations so far, last (N,) frame of the latest, at (N, 2) its place, xy (N, 2) place
    now (a guess while hidden), motion (N, 2) since the frame before, pixels; and their anchors."""

    track: NDArray[np.int32]
    count: NDArray[np.int32]
    last: NDArray[np.int32]
    at: Points
    xy: Points
    motion: Points
    anchors: Anchors

    @staticmethod
    def begun(track: NDArray[np.int32], step: int, xy: Points, anchors: Anchors) -> Followed:
        """Tracks that begin at (N, 2) pixels of frame `step`."""
        ones = np.ones(len(xy), np.int32)
        return Followed(track, ones, ones * np.int32(step), xy, xy, np.zeros_like(xy), anchors)

    def rows(self, which: NDArray[np.generic]) -> Followed:
        """Some of the tracks."""
        return Followed(**{f.name: v.rows(which) if isinstance(v, Anchors) else v[which] for f, v in self._items()})

    def joined(self, *more: Followed) -> Followed:
        """These and others."""
        anchors = self.anchors.joined(*(part.anchors for part in more))
        return Followed(
            *(np.concatenate([getattr(part, f.name) for part in (self, *more)]) for f in fields(self) if f.name != "anchors"), anchors=anchors
        )

    def moved(self, step: int, xy: Points, anchors: Anchors) -> Followed:
        """The same tracks, seen at (N, 2) pixels of frame `step`."""
        return replace(self, count=self.count + 1, last=np.full_like(self.last, step), at=xy, motion=xy - self.xy, xy=xy, anchors=anchors)

    def _items(self) -> list[tuple[Any, Any]]:
        return [(f, getattr(self, f.name)) for f in fields(self)]


def drifted(hidden: Followed, live: Followed, config: LinkConfig) -> Followed:
    """Hidden points moved on by one frame, as those of their neighbours that moved like them did; without neighbours as they did before."""
    if not len(hidden.track) or not len(live.track):
        return replace(hidden, xy=hidden.xy + hidden.motion)
    count = min(config.neighbours, len(live.track))
    _, near = cKDTree(live.xy - live.motion).query(hidden.xy, k=count)
    motion = live.motion[near.reshape(-1, count)]
    away = ((motion - hidden.motion[:, None]) ** 2).sum(axis=2) / config.like**2
    weight = 1 / (1 + away) ** 2
    own = 0.1 * hidden.motion  # the point's own motion counts as a distant neighbour
    mean = ((motion * weight[..., None]).sum(axis=1) + own) / (weight.sum(axis=1, keepdims=True) + 0.1)
    return replace(hidden, xy=(hidden.xy + mean).astype(np.float32), motion=mean.astype(np.float32))


def seen_again(
    images: Mapping[int, NDArray[np.float32]], step: int, hidden: Followed, numbers: AnchorConfig, config: LinkConfig
) -> tuple[NDArray[np.bool_], Followed]:
    """Which of the hidden points (N,) are seen in frame `step`, and all of them with places and anchors as they would be seen there.

    `images` holds the smoothed frame `step` and those in which the points were last seen.
    """
    numbers = replace(numbers, steps=config.steps)
    now = images[step]
    xy, anchors, alike = align(now, hidden.xy, hidden.anchors, numbers)
    height, width = now.shape
    gone = step - hidden.last
    good = (alike > config.alike) & (np.linalg.norm(xy - hidden.xy, axis=1) < config.astray * (1 + gone / config.gap))
    good &= (xy >= 2).all(axis=1) & (xy[:, 0] < width - 3) & (xy[:, 1] < height - 3)
    for last in np.unique(hidden.last[good]):
        own = np.flatnonzero(good & (hidden.last == last))
        inverse = np.einsum("nij,njk->nik", hidden.anchors.shape[own], np.linalg.inv(anchors.shape[own])).astype(np.float32)
        back, _, alike_back = align(images[int(last)], hidden.at[own], replace(anchor(now, xy[own], numbers), shape=inverse), numbers)
        good[own] = (alike_back > config.alike) & (np.linalg.norm(back - hidden.at[own], axis=1) < config.back_error)
    return good, hidden.moved(step, xy, anchors)
