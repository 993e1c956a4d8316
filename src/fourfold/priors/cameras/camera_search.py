"""The cameras of one film: several starts of one bundle over few tracks, the best of them over many, and one score that chooses.

A standing camera, a turning one and a travelling one are the same model with less or more freedom (spec front_end.md 2b). Every answer is
judged by the same tracks, and nothing wins because it came second.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from fourfold.counting import counted
from fourfold.priors.cameras.bundle_system import Sightings, Solved
from fourfold.priors.cameras.camera_score import Score, ScoreNumbers, score
from fourfold.priors.cameras.grown_start import GrowthNumbers, grown_start, lasting_window
from fourfold.priors.cameras.spread_tracks import Film, SpreadNumbers, spread
from fourfold.priors.cameras.track_bundle import BundleNumbers, Freedom, bundle
from fourfold.priors.cameras.track_places import placed
from fourfold.priors.cameras.travelled_start import TravelNumbers, travelled_starts
from fourfold.priors.cameras.turned_start import standing_start, turned_start, with_rotations
from fourfold.priors.cameras.weak_frames import mended
from fourfold.threads import in_threads

Kind = Literal["estimated", "rotation", "fixed"]


@dataclass(frozen=True)
class SearchNumbers:
    """How the search goes.

    Attributes:
        focals: focal lengths of the starts, image widths, where the file tells none.
        hinted: the same in units of the focal length that the file tells.
        hint_deviation: standard deviation of the logarithm of what the file tells (makers round; a stabilised video is cropped).
        few, many, most: tracks for the starts, for the answers that are judged, and for the best one in the end.
        rough, fine, last: the adjustments of a turning camera over few, and of any over many and over most tracks.
        finished: how many of the travelling starts are brought to the end, those only whose score is within `hopeless` of the best one's.
        hopeless: see `finished`, share.
        alike: relative difference of the focal lengths below which two starts with a score within `tie` have found the same.
        tie: see `alike`.
        travel: the travelling starts over few tracks.
        far: share of the frames that the middle's tracks must reach; of a film that goes farther one start is grown.
        reaching: share of the middle's tracks that must reach so far.
        growth: of that start.
        earned: what a turning camera must explain in units of what a standing one does, and a travelling in units of what a turning one does,
            to be preferred: with more freedom anything is explained a little better, a lens that is not quite a pinhole above all.
        trial: frames, about, of which a longer film first shows whether a travelling camera could be preferred at all: with fewer observations
            its freedom explains more, so what loses there has lost.
    """

    focals: tuple[float, ...] = (0.6, 0.9, 1.5)
    hinted: tuple[float, ...] = (0.9, 1.1)
    hint_deviation: float = 0.1
    few: SpreadNumbers = field(default_factory=SpreadNumbers)
    many: SpreadNumbers = field(default_factory=lambda: SpreadNumbers(per=4))
    most: SpreadNumbers = field(default_factory=lambda: SpreadNumbers(per=8))
    rough: BundleNumbers = field(default_factory=lambda: BundleNumbers(iterations=30, tolerance=2e-4))
    fine: BundleNumbers = field(default_factory=lambda: BundleNumbers(iterations=120, scale=0.5, tolerance=5e-6))
    last: BundleNumbers = field(default_factory=lambda: BundleNumbers(iterations=50, scale=0.25, tolerance=5e-6))
    finished: int = 2
    hopeless: float = 0.15
    alike: float = 0.03
    tie: float = 0.01
    travel: TravelNumbers = field(default_factory=TravelNumbers)
    far: float = 0.75
    reaching: float = 0.2
    growth: GrowthNumbers = field(default_factory=GrowthNumbers)
    earned: float = 1.12
    trial: int = 60


@dataclass(frozen=True)
class Answer:
    """One answer to where the cameras are: what kind, how it was found, the solution over `seen`, and its score among its rivals."""

    kind: Kind
    found: str
    seen: Sightings
    solved: Solved
    freedom: Freedom
    score: Score


@dataclass(frozen=True)
class Found:
    """The best answer and the rest, best first by the same score."""

    best: Answer
    others: tuple[Answer, ...]


def find_cameras(film: Film, hint: float | None = None, numbers: SearchNumbers = SearchNumbers()) -> Found:
    """The cameras of a film of one view.

    Args:
        hint: focal length in pixels at 640 that the file tells.
    """
    expected = None if hint is None else (hint, numbers.hint_deviation)
    few, many = (film.seen.of(spread(film, film.seen, n)) for n in (numbers.few, numbers.many))
    focals = [w * film.sizes[0, 0] for w in numbers.focals] if hint is None else [w * hint for w in numbers.hinted]
    judge = _Judge(film, hint is not None)
    standing = judge.answer("fixed", "stood", many, _stood(many, hint, numbers), _STOOD)
    turns = Freedom(travel=False, expected=expected)
    turned = _best(counted(in_threads(lambda focal: _turned(few, focal, turns, judge, numbers), focals), "as turned", len(focals)))
    over_many = with_rotations(many, turned.solved.rotation, turned.solved.focal)
    turned = judge.answer("rotation", turned.found, many, bundle(many, over_many, turns, numbers.fine).solved, turns)
    ahead = max(_worth(standing, numbers), _worth(turned, numbers))
    step = film.seen.frames // numbers.trial
    travelled = _travelled(replace(judge, film=film.thinned(step)), focals, expected, numbers) if step > 1 else []
    if not travelled or max(_worth(answer, numbers) for answer in travelled) > ahead:
        travelled = _travelled(judge, focals, expected, numbers)
    answers = sorted((standing, turned, *travelled), key=lambda a: -_worth(a, numbers))
    best = answers[0]
    if best.kind != "fixed":
        most = film.seen.of(spread(film, film.seen, numbers.most))
        best = replace(best, seen=most, solved=bundle(most, placed(most, best.solved), best.freedom, numbers.last).solved)
    return Found(best, tuple(a for a in answers[1:] if a.kind != best.kind or not _same(a, best, numbers)))


def _travelled(judge: _Judge, focals: list[float], expected: tuple[float, float] | None, numbers: SearchNumbers) -> list[Answer]:
    """The best answers that say that the camera of the judge's film travelled."""
    film, travels = judge.film, Freedom(expected=expected)
    few, many = (film.seen.of(spread(film, film.seen, n)) for n in (numbers.few, numbers.many))
    rough = [judge.answer("estimated", "started as turned", few, at, travels) for at in travelled_starts(few, focals, travels, numbers.travel)]
    begin, end = lasting_window(film.seen, numbers.reaching, 1)
    if end - begin < numbers.far * film.seen.frames:
        grown = grown_start(film, few, focals, travels, numbers.growth)
        rough.append(judge.answer("estimated", "grown from the middle", few, grown, travels))
    chosen = _different(rough, numbers)
    return list(counted(in_threads(lambda answer: _finish(answer, many, judge, numbers), chosen), "the best starts", len(chosen)))


_STOOD = Freedom(travel=False, turn=False, focal=False)


@dataclass(frozen=True)
class _Judge:
    film: Film
    known_lens: bool
    numbers: ScoreNumbers = ScoreNumbers()

    def answer(self, kind: Kind, found: str, seen: Sightings, solved: Solved, freedom: Freedom) -> Answer:
        return Answer(kind, found, seen, solved, freedom, score(self.film, seen, solved, self.known_lens, self.numbers))


def _worth(answer: Answer, numbers: SearchNumbers) -> float:
    """The score, less what its freedom explains of anything."""
    return answer.score.value / numbers.earned ** ("fixed", "rotation", "estimated").index(answer.kind)


def _best(answers: Iterable[Answer]) -> Answer:
    return max(answers, key=lambda a: a.score.value)


def _stood(seen: Sightings, hint: float | None, numbers: SearchNumbers) -> Solved:
    focal = np.full(len(seen.centre), 2 * seen.centre[0, 0] if hint is None else hint)
    return bundle(seen, standing_start(seen, focal), _STOOD, numbers.fine).solved


def _turned(seen: Sightings, focal: float, freedom: Freedom, judge: _Judge, numbers: SearchNumbers) -> Answer:
    start = turned_start(seen, np.full(len(seen.centre), focal))
    return judge.answer("rotation", _from(focal, judge.film), seen, bundle(seen, start, freedom, numbers.rough).solved, freedom)


def _from(focal: float, film: Film) -> str:
    return f"turned, {focal / film.sizes[0, 0]:.2f} widths"


def _different(answers: list[Answer], numbers: SearchNumbers) -> list[Answer]:
    """The best of them that did not find the same."""
    chosen: list[Answer] = []
    best = max(a.score.value for a in answers)
    for answer in sorted((a for a in answers if a.score.value >= (1 - numbers.hopeless) * best), key=lambda a: -a.score.value):
        if len(chosen) < numbers.finished and not any(_same(answer, c, numbers) for c in chosen):
            chosen.append(answer)
    return chosen


def _same(a: Answer, b: Answer, numbers: SearchNumbers) -> bool:
    return abs(a.score.focal / b.score.focal - 1) < numbers.alike and abs(a.score.value - b.score.value) < numbers.tie


def _finish(answer: Answer, many: Sightings, judge: _Judge, numbers: SearchNumbers) -> Answer:
    """The answer over more tracks, and once more where that left frames behind."""
    solved = bundle(many, placed(many, answer.solved), answer.freedom, numbers.fine).solved
    better, free = mended(many, solved)
    freedom = replace(answer.freedom, frames=free)
    if better is not solved:
        solved = bundle(many, better, freedom, numbers.fine).solved
    return judge.answer(answer.kind, answer.found, many, solved, freedom)
