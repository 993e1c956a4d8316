"""Few images far apart: places matched between all of them, and whether each is where a point at rest would be.

Between such images tracks end after a step or two, and that they end says nothing. Descriptors find a place again in images that are not
neighbours, behind whatever passed in between. Source: docs/masks.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Cameras
from fourfold.priors.masks.static_points import Observations, View, static_points
from fourfold.priors.tracking.matching import MatchConfig, PointFeatures, match
from fourfold.priors.tracking.sift_matches import SiftNumbers, describe

Array = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class MatchedNumbers:
    """Numbers of the matched places.

    Attributes:
        images: of more images than these, pairs are not matched: their tracks last.
        sift: keypoints and the ratio test.
        agrees: error, in the noise of the tracks, within which an observation agrees with a point at rest.
        least: observations, the place itself among them, that must agree for rest; a place with as many of which fewer agree moves.
        share: of a resting place's observations that must agree: matches may be wrong.
        noise: pixels of an image with a longer side of 640 below which no noise is believed: keypoints are that coarse.
        rest_say, move_say: in the vote; wrong matches contradict a world at rest, and hardly ever agree with it.
    """

    images: int = 20
    sift: SiftNumbers = field(default_factory=lambda: SiftNumbers(features=3000, ratio=0.8))
    agrees: float = 2.0
    least: int = 3
    share: float = 0.6
    noise: float = 0.67
    rest_say: float = 1.0
    move_say: float = 0.5


@dataclass(frozen=True)
class MatchedPlaces:
    """Places xy (M, 2) pixels at time (M,), their suspicion (M,), 0 or 1, and their say (M,) in a vote."""

    xy: Array
    time: Rows
    suspicion: Array
    say: Array


def matched_places(capture: Capture, cameras: Cameras, view: int, noise: float, numbers: MatchedNumbers = MatchedNumbers()) -> MatchedPlaces | None:
    """Places in the present images of `view` that several training images show too; None for too many. `noise` is that of its tracks, pixels."""
    times = [int(t) for t in np.flatnonzero(capture.present[view])]
    if len(times) > numbers.images:
        return None
    features = {t: describe(np.asarray(capture.image(view, t)), None, numbers.sift) for t in times}
    side = float(max(capture.sizes[view]))
    seen = View(cameras.K[view], cameras.world_to_camera[view], side)
    within = numbers.agrees * max(noise, numbers.noise * side / 640)
    found = _matches(features, capture.train[view], numbers.sift)
    parts: list[tuple[Array, Rows, Array, Array]] = []
    for time in times:
        xy = features[time].xy.astype(np.float64)
        agree, count = _agreement(xy, time, found[time], seen, within)
        rest = (agree >= numbers.least) & (agree >= numbers.share * count)
        move = (count >= numbers.least) & (agree < numbers.least)
        told = rest | move
        say = np.where(rest, numbers.rest_say, numbers.move_say)
        parts.append((xy[told], np.full(int(told.sum()), time), move[told].astype(np.float64), say[told]))
    xy, time, suspicion, say = (np.concatenate([p[i] for p in parts]) for i in range(4))
    return MatchedPlaces(xy, time, suspicion, say)


Found = list[tuple[Rows, Rows, Array]]
"""Of one image: rows of its keypoints, the moments that show them too, and the pixels there."""


def _matches(features: dict[int, PointFeatures], train: NDArray[np.bool_], numbers: SiftNumbers) -> dict[int, Found]:
    """Mutual best matches of every pair of images that pass the ratio test, kept with each image whose partner trains."""
    found: dict[int, Found] = {time: [] for time in features}
    for a, b in combinations(features, 2):
        ours, others = match(features[a], features[b], MatchConfig(ratio=numbers.ratio))[0].T
        for here, mine, there, theirs in ((a, ours, b, others), (b, others, a, ours)):
            if train[there]:
                found[here].append((mine, np.full(len(mine), there), features[there].xy[theirs].astype(np.float64)))
    return found


def _agreement(xy: Array, time: int, found: Found, seen: View, within: float) -> tuple[Rows, Rows]:
    """Per place (N,) of the image at `time`: how many of its observations, itself among them, a point at rest explains, and how many there are."""
    count = len(xy)
    number = np.concatenate([np.arange(count), *(f[0] for f in found)])
    when = np.concatenate([np.full(count, time), *(f[1] for f in found)])
    where = np.concatenate([xy, *(f[2] for f in found)])
    order = np.argsort(number, kind="stable")
    observed = Observations(where[order], when[order], number[order], count)
    error = static_points(seen, observed, np.ones(len(order), bool)).error
    agree = np.bincount(observed.track, np.nan_to_num(error, nan=np.inf) < within, count).astype(np.int64)
    return agree, np.bincount(number, minlength=count)
