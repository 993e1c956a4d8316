"""Long tracks of a synthetic capture against the exact paths of the points where they began."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.evaluation.bench_priors_scores import Figures, Judge
from fourfold.priors.contracts import LongTracks

LONG_SIDE = 640
"""Errors are in pixels of an image whose longer side is this long, whatever the capture's size."""
NEAR = 1.5
"""Pixels within which an observation serves cameras."""
RIGHT = 2.0
"""Pixels within which a point that was hidden has truly been found again."""
AGES = ((5, 10), (20, 40))
"""Moments since a track began, first and past the last, at which its error is told."""


def score_long_tracks(tracks: LongTracks, judge: Judge) -> Figures | None:
    """How far tracks drift from the surface points they began at, and whether they are found again rightly.

    `error_A_B`: median of still points A to B - 1 moments after their beginning, pixels at 640; `near_still`, `near_moving`: percent of all
    observations after the first within 1.5 px; `hidden`: percent whose point cannot be seen there; `links`: observations after a gap, and
    `links_right`: percent of them within 2 px, of those that were before the gap.
    """
    if not len(tracks.xy):
        return None
    error, age, moving, hidden = _errors(tracks, judge)
    later = age > 0
    figures: Figures = {"tracks": float(len(tracks.view)), "longest_tenth": float(np.percentile(np.bincount(tracks.track), 90))}
    for first, end in AGES:
        figures[f"error_{first}_{end}"] = _median(error[~moving & (age >= first) & (age < end)])
    figures["near_still"], figures["near_moving"] = _percent(error[later & ~moving] < NEAR), _percent(error[later & moving] < NEAR)
    figures["hidden"] = _percent(hidden[later])
    link = np.concatenate([[False], (np.diff(tracks.track) == 0) & (np.diff(tracks.time) > 1)])
    link &= _steps_over_present(tracks, judge)
    figures["links"] = float(link.sum())
    figures["links_right"] = _percent(error[link & (np.concatenate([[np.inf], error[:-1]]) < RIGHT)] < RIGHT)
    return figures


def _errors(tracks: LongTracks, judge: Judge) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Per observation (M,): pixels at 640 from the exact place, moments since the track's first, whether it began on a mover, whether hidden."""
    first = np.searchsorted(tracks.track, np.arange(len(tracks.view)))
    error, hidden = np.zeros(len(tracks.xy)), np.zeros(len(tracks.xy), bool)
    moving = np.zeros(len(tracks.view), bool)
    begun = np.stack([tracks.view, tracks.time[first]], axis=1)
    for view, time in np.unique(begun, axis=0).tolist():
        own = np.flatnonzero((begun == (view, time)).all(axis=1))
        paths = judge.scene.paths(view, time, tracks.xy[first[own]])
        moving[own] = paths.object_id > 0
        rows = np.flatnonzero(np.isin(tracks.track, own))
        point = np.searchsorted(own, tracks.track[rows])
        scale = LONG_SIDE / judge.capture.sizes[view].max()
        error[rows] = scale * np.linalg.norm(tracks.xy[rows] - paths.xy[point, tracks.time[rows]], axis=1)
        hidden[rows] = ~paths.seen[point, tracks.time[rows]]
    return error, tracks.time - tracks.time[first][tracks.track], moving[tracks.track], hidden


def _steps_over_present(tracks: LongTracks, judge: Judge) -> NDArray[np.bool_]:
    """(M,) whether some frame that exists lies between an observation and the one before it in the arrays."""
    view = tracks.view[tracks.track]
    frame = np.cumsum(judge.capture.present, axis=1)[view, tracks.time]
    return np.concatenate([[False], np.diff(frame) > 1])


def _median(values: NDArray[np.float64]) -> float | None:
    return float(np.median(values)) if len(values) else None


def _percent(flags: NDArray[Any]) -> float | None:
    return 100 * float(flags.mean()) if len(flags) else None
