"""Whether a film's images were read row after row while the camera turned, and over how much of a frame's time.

An observation in row y of an image belongs to the moment t + share (y / height - 1/2), in intervals between frames. Moved back along its own track by
that much, it is where a camera that reads all at once would have seen it. Most of what a pan does to such images is taken up by poses that tilt, so
the answer is judged by what it explains within a fraction of a pixel. A phone held upright reads columns, one held upside down the other way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fourfold.priors.cameras.bundle_system import Array, Sightings
from fourfold.priors.cameras.camera_score import ScoreNumbers, score
from fourfold.priors.cameras.camera_search import Answer
from fourfold.priors.cameras.spread_tracks import Film, SpreadNumbers, spread
from fourfold.priors.cameras.track_bundle import BundleNumbers, bundle
from fourfold.threads import in_threads


@dataclass(frozen=True)
class RollingNumbers:
    """How a readout is looked for.

    Attributes:
        near: residual, pixels at 640, within which an observation counts as sharply explained.
        pays: what is sharply explained must become more by this share of itself.
        first: share of the interval that is tried of either axis, either way; others: what is tried of the best of those.
        steps: of the adjustment in each trial; tracks: those that are tried, evenly spread: a readout is one number for all.
    """

    near: float = 0.25
    pays: float = 0.08
    first: float = 0.5
    others: tuple[float, ...] = (0.25, 0.75, 1.0)
    steps: int = 15
    tracks: SpreadNumbers = SpreadNumbers(per=2)


@dataclass(frozen=True)
class Rolling:
    """share: of the interval between frames that reading one takes, below 0 from the end of the axis; axis: 0 where columns are read one after the
    other, 1 for rows; gain: share by which more is sharply explained."""

    share: float
    axis: int
    gain: float


def rolling_shutter(film: Film, best: Answer, numbers: RollingNumbers = RollingNumbers()) -> Rolling | None:
    """The readout of `film`, `best` its answer without one; None where it is not told (the camera stood, moments are missing) or does not pay."""
    if best.kind == "fixed" or (np.diff(film.frames[:, 1]) != 1).any():
        return None
    keep = spread(film, best.seen, numbers.tracks)
    few, start = best.seen.of(keep), replace(best.solved, direction=best.solved.direction[keep], inverse=best.solved.inverse[keep])
    adjust, sharp = BundleNumbers(iterations=numbers.steps, scale=numbers.near), ScoreNumbers(near=numbers.near)

    def explained(share: float, axis: int) -> float:
        seen = read_at_once(few, film, share, axis)
        return score(film, seen, bundle(seen, start, best.freedom, adjust).solved, numbers=sharp).explained

    tried = [(0.0, 1), *((sign * numbers.first, axis) for axis in (1, 0) for sign in (1, -1))]
    before, *found = in_threads(explained, *zip(*tried, strict=True))
    (share, axis), value = tried[1 + int(np.argmax(found))], max(found)
    if value <= (1 + numbers.pays / 2) * before:
        return None
    shares = [np.sign(share) * other for other in numbers.others]
    curve = {0.0: before, share: value} | dict(zip(shares, in_threads(explained, shares, [axis] * len(shares)), strict=True))
    share = _summit(curve)
    gain = explained(share, axis) / max(before, 1e-9) - 1
    return Rolling(share, axis, gain) if gain > numbers.pays else None


def read_at_once(seen: Sightings, film: Film, share: float, axis: int) -> Sightings:
    """`seen` as a camera would have seen it that reads all of an image at the moment of its middle."""
    place = seen.xy[:, axis] / film.sizes[0, axis] - 0.5
    return replace(seen, xy=seen.xy - share * place[:, None] * track_speed(seen))


def track_speed(seen: Sightings) -> Array:
    """(M, 2) pixels per frame of each observation: the mean of the steps to its track's neighbours in time, 0 where it has none."""
    same = (np.diff(seen.track) == 0) & (np.diff(seen.frame) == 1)
    step = np.diff(seen.xy, axis=0) * same[:, None]
    total, count = np.zeros_like(seen.xy), np.zeros(len(seen.xy))
    total[1:] += step
    total[:-1] += step
    count[1:] += same
    count[:-1] += same
    return total / np.maximum(count, 1)[:, None]


def _summit(curve: dict[float, float]) -> float:
    """Where a curve through values at evenly spaced places is highest: of the parabola through the highest and its neighbours."""
    places = np.array(sorted(curve))
    values = np.array([curve[place] for place in places])
    top = int(np.clip(values.argmax(), 1, len(places) - 2))
    square, slope, _ = np.polyfit(places[top - 1 : top + 2], values[top - 1 : top + 2], 2)
    if square >= 0:
        return float(places[values.argmax()])
    return float(np.clip(-slope / (2 * square), places[0], places[-1]))
