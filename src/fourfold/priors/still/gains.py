"""Exposure and white balance of each image against the others, from the colours of tracks that rest."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.masks.static_points import percentile_by_track
from fourfold.priors.masks.track_evidence import JudgedTracks


@dataclass(frozen=True)
class GainNumbers:
    """Numbers of the gains.

    Attributes:
        resting: suspicion below which a track tells the exposure.
        darkest, brightest: grey levels beyond which a colour is clipped and tells nothing.
        blur: deviation in pixels over which an image is averaged around a track.
        rounds: how often tracks' colours and images' gains are refined by each other.
        fewest: colours an image needs for a gain of its own; it gets its neighbours' with fewer.
        steady: largest change of exposure, natural logarithm, that is left alone.
    """

    resting: float = 0.3
    darkest: int = 8
    brightest: int = 247
    blur: float = 1.5
    rounds: int = 12
    fewest: int = 30
    steady: float = 0.02


def exposure_gains(capture: Capture, view: int, tracks: JudgedTracks, numbers: GainNumbers = GainNumbers()) -> NDArray[np.float32]:
    """(T, 3) factors by which each image of `view` is brighter than the clip, per colour; exactly 1 where the exposure is steady.

    Medians over tracks and over images by turns: log colour = log gain of the image + log colour of the track. A held-out image is told its
    own exposure and nothing else by its colours.
    """
    usable = (tracks.say > 0) & (tracks.suspicion < numbers.resting)
    rows = np.flatnonzero(usable[tracks.seen.track] & np.isfinite(tracks.points.error))
    colours = _colours(capture, view, tracks, rows, numbers)
    good = ((colours > numbers.darkest) & (colours < numbers.brightest)).all(1)
    rows, logs = rows[good], np.log(colours[good])
    time, track = tracks.seen.time[rows], tracks.seen.track[rows]
    gains = np.zeros((capture.times, 3))
    known = np.flatnonzero(np.bincount(time, minlength=capture.times) >= numbers.fewest)
    trained = known[capture.train[view, known]]
    fitted = capture.train[view, time]
    if len(trained) < 2:
        return np.ones((capture.times, 3), np.float32)
    for channel in range(3):
        gain = np.zeros(capture.times)
        for _ in range(numbers.rounds):
            own = percentile_by_track(np.where(fitted, logs[:, channel] - gain[time], np.nan), track, tracks.seen.count, 0.5)
            gain = percentile_by_track(logs[:, channel] - own[track], time, capture.times, 0.5)
            gain = np.interp(np.arange(capture.times), known, gain[known])
            gain -= gain[trained].mean()
        gains[:, channel] = gain
    return np.exp(gains).astype(np.float32) if np.abs(gains[trained]).max() > numbers.steady else np.ones((capture.times, 3), np.float32)


def _colours(capture: Capture, view: int, tracks: JudgedTracks, rows: NDArray[np.int64], numbers: GainNumbers) -> NDArray[np.float32]:
    """(R, 3) colour, 0 to 255, around the observations `rows`."""
    colours = np.zeros((len(rows), 3), np.float32)
    time = tracks.seen.time[rows]
    for t in np.unique(time):
        here = time == t
        image = cv2.GaussianBlur(np.asarray(capture.image(view, int(t))).astype(np.float32), (0, 0), numbers.blur)
        column, row = np.clip(tracks.seen.xy[rows[here]].astype(np.int64), 0, capture.sizes[view] - 1).T
        colours[here] = image[row, column]
    return colours
