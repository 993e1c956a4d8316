"""Where the long tracks contradict a world at rest: how badly each track's best static point explains it, carried to every pixel.

High recall, low precision: drift, the edges of things and bare surfaces look moving, too. What a static scene explains is asked next.
Source: docs/masks.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.counting import counted
from fourfold.priors.contracts import Cameras, LongTracks
from fourfold.priors.masks.matched_places import MatchedNumbers, MatchedPlaces, matched_places
from fourfold.priors.masks.static_points import FitNumbers, Observations, StaticPoints, View, percentile_by_track, static_points
from fourfold.priors.masks.track_vote import VoteNumbers, vote
from fourfold.threads import in_threads


@dataclass(frozen=True)
class TrackEvidenceNumbers:
    """Numbers of the evidence; pixels are those of an image with a longer side of 640.

    Attributes:
        fit: of the static points.
        votes: how tracks vote for pixels.
        share: of a track's errors that must be small: one bad tenth is drift or an occlusion.
        least: fewest training observations by which a track is judged; one that dies earlier was lost.
        quiet: pixels of noise that every clip has.
        starts, full: error over the clip's noise at which suspicion begins and is complete.
        proven: observations from which a track has its full say; `timid` is the say of a new one.
        lost_suspicion, lost_say: of a track that died young: fast things have no others.
        matched: of places matched between few images; there a young death is usual, and says so much less as more tracks die so.
        border: a track whose next step would be this near the image's border has left it and was not lost.
    """

    fit: FitNumbers = field(default_factory=FitNumbers)
    votes: VoteNumbers = field(default_factory=VoteNumbers)
    share: float = 0.9
    least: int = 4
    quiet: float = 0.5
    starts: float = 2.0
    full: float = 5.0
    proven: int = 10
    timid: float = 0.2
    lost_suspicion: float = 0.8
    lost_say: float = 0.4
    matched: MatchedNumbers = field(default_factory=MatchedNumbers)
    border: float = 8.0


@dataclass(frozen=True)
class JudgedTracks:
    """The tracks of one view: rows (M,) of the observations in the prior and the observations themselves, renumbered; points they would be
    at rest; suspicion (P,) in [0, 1] and say (P,) in [0, 1], 0 for those that cannot be judged; lost (P,) bool died young; noise pixels; and of few
    images the places that were matched between them."""

    seen: Observations
    points: StaticPoints
    suspicion: NDArray[np.float64]
    say: NDArray[np.float64]
    lost: NDArray[np.bool_]
    noise: float
    matched: MatchedPlaces | None = None


def judge_tracks(
    capture: Capture, longtracks: LongTracks, cameras: Cameras, view: int, numbers: TrackEvidenceNumbers = TrackEvidenceNumbers()
) -> JudgedTracks:
    """How well each track of `view` agrees with a world at rest, whether the camera travels, turns or stands."""
    side = float(max(capture.sizes[view]))
    seen = _of_view(longtracks, view)
    used = capture.train[view, seen.time]
    points = static_points(View(cameras.K[view], cameras.world_to_camera[view], side), seen, used, numbers.fit)
    worst = percentile_by_track(np.where(used, points.error, np.nan), seen.track, seen.count, numbers.share)
    length = np.bincount(seen.track, used & np.isfinite(points.error), seen.count)
    judged = (length >= numbers.least) & np.isfinite(worst)
    quiet = numbers.quiet * side / 640
    usual = worst[judged & (worst < 2 * np.median(worst[judged]))] if judged.any() else np.zeros(0)
    noise = max(quiet, float(np.median(usual))) if usual.size else quiet
    ratio = np.where(judged, worst, 0) / noise
    suspicion = np.clip((ratio - numbers.starts) / (numbers.full - numbers.starts), 0, 1)
    say = np.where(judged, np.clip(length / numbers.proven, numbers.timid, 1), 0)
    matched = matched_places(capture, cameras, view, noise, numbers.matched)
    return JudgedTracks(seen, points, suspicion, say, _lost_young(capture, view, seen, numbers), noise, matched)


def view_suspicion(capture: Capture, view: int, tracks: JudgedTracks, numbers: TrackEvidenceNumbers = TrackEvidenceNumbers()) -> NDArray[np.float16]:
    """(T, h, w) float16 suspicion of motion in [0, 1] by the votes of one view's tracks, on a grid that covers the image evenly; 0 where there is no
    image. Held-out images only receive votes: no track is judged by what they show."""
    width, height = (int(n) for n in capture.sizes[view])
    shrink = min(1.0, numbers.votes.side / max(width, height))
    w, h = max(1, round(width * shrink)), max(1, round(height * shrink))
    scale = np.array([w / width, h / height])
    result = np.zeros((capture.times, h, w), np.float16)
    seen, ends = tracks.seen, _last_rows(tracks.seen)
    matched = tracks.matched or MatchedPlaces(np.zeros((0, 2)), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    lost_say = numbers.lost_say * (_lasting(tracks) if tracks.matched else 1.0)
    present = [int(t) for t in np.flatnonzero(capture.present[view])]

    def at(t: int, previous: int | None) -> NDArray[np.float32]:
        live = np.flatnonzero((seen.time == t) & (tracks.say[seen.track] > 0))
        dead = ends[tracks.lost & np.isin(seen.time[ends], [t] if previous is None else [previous, t])] if len(ends) else ends
        here = matched.time == t
        places = np.concatenate([seen.xy[live], seen.xy[dead], matched.xy[here]]) * scale
        suspicion = np.concatenate([tracks.suspicion[seen.track[live]], np.full(len(dead), numbers.lost_suspicion), matched.suspicion[here]])
        say = np.concatenate([tracks.say[seen.track[live]], np.full(len(dead), lost_say), matched.say[here]])
        image = cv2.resize(np.asarray(capture.image(view, t)), (w, h), interpolation=cv2.INTER_AREA)
        return vote(image, places, suspicion, say, numbers.votes)

    for t, found in zip(present, counted(in_threads(at, present, [None, *present[:-1]]), "votes", len(present)), strict=True):
        result[t] = found
    return result


def _of_view(longtracks: LongTracks, view: int) -> Observations:
    """The observations of one view's tracks, the tracks numbered anew from 0."""
    mine = longtracks.view == view
    rows = np.flatnonzero(mine[longtracks.track])
    number = np.cumsum(mine) - 1
    return Observations(
        longtracks.xy[rows].astype(np.float64),
        longtracks.time[rows].astype(np.int64),
        number[longtracks.track[rows]].astype(np.int64),
        int(mine.sum()),
    )


def _lasting(tracks: JudgedTracks) -> float:
    """Share of the tracks that lasted until they could be judged, of those and the ones that died young."""
    lasted, died = int((tracks.say > 0).sum()), int(tracks.lost.sum())
    return lasted / max(lasted + died, 1)


def _last_rows(seen: Observations) -> NDArray[np.int64]:
    """(P,) row of the last observation of each track; every track has one."""
    return np.cumsum(np.bincount(seen.track, minlength=seen.count)) - 1


def _lost_young(capture: Capture, view: int, seen: Observations, numbers: TrackEvidenceNumbers) -> NDArray[np.bool_]:
    """(P,) tracks with fewer than `least` observations that end inside the image before the view does."""
    if seen.count == 0:
        return np.zeros(0, bool)
    present = np.flatnonzero(capture.present[view])
    width, height = capture.sizes[view]
    last = _last_rows(seen)
    length = np.bincount(seen.track, minlength=seen.count)
    step = seen.xy[last] - seen.xy[np.maximum(last - 1, 0)]
    ahead = seen.xy[last] + np.where((length > 1)[:, None], step, 0)
    margin = numbers.border * max(width, height) / 640
    inside = ((ahead > margin) & (ahead < np.array([width, height]) - margin)).all(1)
    return (length < numbers.least) & (seen.time[last] < present[-1]) & inside
