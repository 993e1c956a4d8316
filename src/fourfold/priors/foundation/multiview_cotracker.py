"""Multi-view tracks with CoTracker3 as the 2D tracker and the paper's own tolerance of 0.1 pixels (spec sparse_dynamic_cameras.md section 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Depth, Matches, Priors, Tracks2D, Tracks3D
from fourfold.priors.foundation.cotracker import CoTracker
from fourfold.priors.foundation.video import PointTracker, at_times, frames_of, on_all_times, training_times
from fourfold.priors.foundation.weights import missing
from fourfold.priors.multiview_tracks.consistent import ConsistencyNumbers
from fourfold.priors.multiview_tracks.follow import Follower
from fourfold.priors.multiview_tracks.provider import MultiviewNumbers, multiview_tracks
from fourfold.priors.providers import Provider

TRACKER = "cotracker3-online"
SEEN = 0.6
"""Visibility times confidence above which its online predictor calls a point seen."""
WORKING = MultiviewNumbers(consistency=ConsistencyNumbers(sampson=0.1))  # section 5.1


def follower_of(tracker: PointTracker) -> Follower:
    """A network's tracker as one that follows matched points through a view's training frames; between those it interpolates and sees nothing."""

    def follow(capture: Capture, view: int, xy: NDArray[np.float32], time: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        times = training_times(capture, view)
        row = np.searchsorted(times, time)
        queries = np.concatenate([row[:, None].astype(np.float32), xy.astype(np.float32)], axis=1)
        places, visibility, confidence = tracker(frames_of(capture, view, times), queries)
        full = on_all_times(places, times, capture.times)
        full[np.arange(len(xy)), time] = xy
        return full, at_times(visibility * confidence, times, capture.times) > SEEN

    return follow


def _provider(name: str, numbers: MultiviewNumbers) -> Provider:
    def make(capture: Capture, priors: Priors) -> list[Tracks3D | Tracks2D]:
        return list(multiview_tracks(capture, priors.require(Matches), priors.require(Depth), follower_of(CoTracker(TRACKER)), numbers))

    return Provider(name, ("tracks3d", "tracks2d"), ("masks", "flow", "cameras", "matches", "depth"), 0, _missing, make, named=True)


def _missing(capture: Capture) -> str | None:
    several = ((capture.train & capture.present).sum(axis=0) >= 2).any() and capture.times >= 2
    return missing(TRACKER) if several else ""


_VARIANTS: dict[str, Callable[[MultiviewNumbers], MultiviewNumbers]] = {
    "tracks": lambda numbers: numbers,
    "no_epipolar": lambda numbers: replace(numbers, epipolar=False),
    "no_triangulation": lambda numbers: replace(numbers, triangulation=False),
    "neither": lambda numbers: replace(numbers, epipolar=False, triangulation=False),
}
PROVIDERS = tuple(_provider(f"multiview_{name}_cotracker", change(WORKING)) for name, change in _VARIANTS.items())
