"""A start for cameras that go far, such as once round: a window of the film that starts as turned, then frame by frame outwards.

Where few tracks last from one end to the other, a film as a whole cannot be started as turned; its middle can. Each further frame is resected
from the tracks that it shares with what is placed, new tracks are placed, and all is adjusted before the next frames come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourfold.counting import count
from fourfold.priors.cameras.bundle_system import Array, Sightings, Solved
from fourfold.priors.cameras.camera_score import score
from fourfold.priors.cameras.spread_tracks import Film, SpreadNumbers, spread
from fourfold.priors.cameras.track_bundle import BundleNumbers, Freedom, bundle
from fourfold.priors.cameras.track_places import placed
from fourfold.priors.cameras.travelled_start import TravelNumbers, travelled_starts

Frames = NDArray[np.bool_]


@dataclass(frozen=True)
class GrowthNumbers:
    """How a film is grown from its middle.

    Attributes:
        lasting: shares of the middle frame's tracks that the ends of the first window must still hold; each gives a window, the best is grown.
        smallest: frames of the smallest window.
        reach: frames added at each end at once, share of the window's.
        dense: tracks of the first window.
        shortest: observations among the placed frames of the shortest track used afterwards.
        first: starts of the window.
        later: adjustment after each addition.
        resection: of added frames alone.
    """

    lasting: tuple[float, ...] = (0.65, 0.4)
    smallest: int = 8
    reach: float = 0.25
    dense: SpreadNumbers = field(default_factory=lambda: SpreadNumbers(per=4))
    shortest: int = 3
    first: TravelNumbers = field(default_factory=TravelNumbers)
    later: BundleNumbers = field(default_factory=lambda: BundleNumbers(iterations=8, tolerance=1e-4))
    resection: BundleNumbers = field(default_factory=lambda: BundleNumbers(iterations=15, lenient=4.0, tolerance=1e-4))


def grown_start(film: Film, seen: Sightings, focals: Sequence[float], freedom: Freedom, numbers: GrowthNumbers = GrowthNumbers()) -> Solved:
    """Cameras of all frames, grown from a window in the middle; the tracks of `seen` are placed by them.

    Args:
        focals: starts in pixels at 640; the window's best is grown.
    """
    begin, end, at = _best_window(film, focals, freedom, numbers)
    step = max(1, round(numbers.reach * (end - begin)))
    frames = np.arange(seen.frames)
    inside = (frames >= begin) & (frames < end)
    count("growing from the middle", int(inside.sum()), seen.frames)
    while not inside.all():
        grown = (frames >= begin - step) & (frames < end + step)
        at = _extrapolated(at, inside, grown)
        at = resected(seen, at, inside, grown, numbers)
        part, _ = within(seen, grown, numbers.shortest)
        begin, end, inside = max(begin - step, 0), min(end + step, seen.frames), grown
        at = bundle(part, placed(part, at), replace(freedom, frames=inside & (frames != begin)), numbers.later).solved
        count("growing from the middle", int(inside.sum()), seen.frames)
    return placed(seen, at)


def within(seen: Sightings, frames: Frames, shortest: int) -> tuple[Sightings, NDArray[np.intp]]:
    """The observations in the chosen frames (F,) of those tracks that have at least `shortest` there, and the numbers of these tracks."""
    rows = frames[seen.frame]
    count = np.bincount(seen.track[rows], minlength=seen.tracks)
    keep = count >= shortest
    rows &= keep[seen.track]
    return replace(seen, xy=seen.xy[rows], frame=seen.frame[rows], first=np.concatenate([[0], np.cumsum(count[keep])])), np.flatnonzero(keep)


def _best_window(film: Film, focals: Sequence[float], freedom: Freedom, numbers: GrowthNumbers) -> tuple[int, int, Solved]:
    """First and last + 1 frame of a window, and its solution, which its own tracks explain best."""
    frames, tries = np.arange(film.seen.frames), []
    for begin, end in sorted({lasting_window(film.seen, lasting, numbers.smallest) for lasting in numbers.lasting}):
        inside = (frames >= begin) & (frames < end)
        part, _ = within(film.seen, inside, numbers.shortest)
        part = part.of(spread(film, part, numbers.dense))
        moves = replace(freedom, frames=inside & (frames != begin))
        tries += [(score(film, part, at).value, begin, end, at) for at in travelled_starts(part, focals, moves, numbers.first)]
    _, begin, end, at = max(tries, key=lambda t: t[0])
    return begin, end, at


def lasting_window(seen: Sightings, lasting: float, smallest: int) -> tuple[int, int]:
    """First and last + 1 frame of the largest window about the middle whose ends hold enough of the middle's tracks."""
    middle = seen.frames // 2
    there = np.zeros(seen.tracks, bool)
    there[seen.track[seen.frame == middle]] = True
    held = np.bincount(seen.frame[there[seen.track]], minlength=seen.frames) >= lasting * max(int(there.sum()), 1)
    begin, end = middle, middle + 1
    while begin > 0 and (held[begin - 1] or middle - begin < smallest // 2):
        begin -= 1
    while end < seen.frames and (held[end] or end - middle < smallest // 2):
        end += 1
    return begin, end


def _extrapolated(at: Solved, inside: Frames, grown: Frames) -> Solved:
    """The poses of the frames that come, moving on as the last placed ones did."""
    rotation, translation = at.rotation.copy(), at.translation.copy()
    known = np.flatnonzero(inside)
    for end, before, way in ((known[0], known[1], -1), (known[-1], known[-2], 1)):
        turn = Rotation.from_matrix(rotation[end] @ rotation[before].T).as_matrix()
        shift = rotation[end] @ (_centre(at, end) - _centre(at, before))
        frame = end + way
        while 0 <= frame < len(grown) and grown[frame]:
            rotation[frame] = turn @ rotation[frame - way]
            centre = -rotation[frame - way].T @ translation[frame - way] + rotation[frame - way].T @ shift
            translation[frame] = -rotation[frame] @ centre
            frame += way
    return replace(at, rotation=rotation, translation=translation)


def _centre(at: Solved, frame: int) -> Array:
    return -at.rotation[frame].T @ at.translation[frame]


def resected(seen: Sightings, at: Solved, inside: Frames, grown: Frames, numbers: GrowthNumbers) -> Solved:
    """The frames that are `grown` but not yet `inside`, placed by the tracks they share with those inside."""
    known, kept = within(seen, inside, numbers.shortest)
    where = placed(known, at)
    shared = np.zeros(seen.tracks, bool)
    shared[kept] = True
    part = seen.of(shared)
    part, still = within(part, grown, numbers.shortest)
    start = replace(where, direction=where.direction[still], inverse=where.inverse[still])
    return bundle(part, start, Freedom(focal=False, frames=grown & ~inside), numbers.resection).solved
