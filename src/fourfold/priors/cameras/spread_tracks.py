"""Which tracks speak for a clip: long ones, evenly spread, so that the vote is by area and duration and not by texture."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.kernels.cover import cover
from fourfold.priors.cameras.bundle_system import Sightings
from fourfold.priors.contracts import LongTracks

UNIT = 640.0
"""Pixels of the longer image side in which cameras are found: numbers then mean the same for every size."""


@dataclass(frozen=True)
class SpreadNumbers:
    """How tracks are chosen.

    Attributes:
        cell: side of a cell, pixels at 640.
        per: tracks a cell of a frame needs.
        shortest: observations of the shortest track taken.
    """

    cell: float = 40.0
    per: int = 2
    shortest: int = 5


@dataclass(frozen=True)
class Film:
    """All tracks of a capture as sightings, in pixels at 640: frames (F, 2) are (view, time index), sizes (V, 2) in those pixels, unit (V, 2)
    pixels at 640 per pixel of the capture, across and down (a reduced image is not quite of the shape in which it was filmed)."""

    seen: Sightings
    frames: NDArray[np.int32]
    sizes: NDArray[np.float64]
    unit: NDArray[np.float64]

    def thinned(self, step: int) -> Film:
        """Every `step`-th frame, with the tracks that two of them hold."""
        seen = self.seen
        there = seen.frame % step == 0
        lengths = np.bincount(seen.track[there], minlength=seen.tracks)
        held = lengths > 1
        rows = there & held[seen.track]
        first = np.concatenate([[0], np.cumsum(lengths[held])]).astype(np.int64)
        frame = (seen.frame[rows] // step).astype(np.int32)
        return replace(self, seen=Sightings(seen.xy[rows], frame, first, seen.lens_of[::step], seen.centre), frames=self.frames[::step])


def film_of(capture: Capture, tracks: LongTracks) -> Film:
    """The present frames and all tracks of a capture."""
    frames = np.argwhere(capture.present).astype(np.int32)
    row = np.full(capture.present.shape, -1)
    row[frames[:, 0], frames[:, 1]] = np.arange(len(frames))
    sizes = np.array([_shape(capture, view) for view in range(capture.views)])
    unit = sizes / capture.sizes
    view = tracks.view[tracks.track]
    lengths = np.bincount(tracks.track, minlength=len(tracks.view))
    first = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    seen = Sightings(tracks.xy * unit[view], row[view, tracks.time].astype(np.int32), first, frames[:, 0], sizes / 2)
    return Film(seen, frames, sizes, unit)


def only(tracks: LongTracks, keep: NDArray[np.bool_]) -> LongTracks:
    """The tracks where `keep` (P,) is true, numbered anew."""
    rows = keep[tracks.track]
    number = (np.cumsum(keep) - 1).astype(np.int32)
    return replace(tracks, xy=tracks.xy[rows], time=tracks.time[rows], track=number[tracks.track[rows]], view=tracks.view[keep])


def cells_of(film: Film, seen: Sightings, cell: float) -> NDArray[np.int64]:
    """(M,) number of the cell of its own image in which each observation lies; cells of different images have different numbers."""
    across = int(np.ceil(film.sizes[:, 0].max() / cell))
    down = int(np.ceil(film.sizes[:, 1].max() / cell))
    x, y = (np.clip(seen.xy[:, i] // cell, 0, n - 1).astype(np.int64) for i, n in ((0, across), (1, down)))
    return (seen.frame.astype(np.int64) * down + y) * across + x


def spread(film: Film, seen: Sightings, numbers: SpreadNumbers = SpreadNumbers()) -> NDArray[np.bool_]:
    """(N,) which tracks to take: the longest first, each where it fills cells that still need one over more than half of its duration."""
    cells = cells_of(film, seen, numbers.cell)
    lengths = seen.lengths
    order = np.argsort(-lengths, kind="stable")
    return cover(order[lengths[order] >= numbers.shortest], seen.first, cells, numbers.per, 0.5, strictly=True)


def _shape(capture: Capture, view: int) -> NDArray[np.float64]:
    """(2,) width and height of a view's images at 640, in the shape of the finest ones that are kept."""
    present = np.flatnonzero(capture.present[view])
    grey = capture.grey(view, int(present[0])) if len(present) else None
    size = np.array(capture.sizes[view] if grey is None else grey.shape[::-1], np.float64)
    return size * UNIT / size.max()
