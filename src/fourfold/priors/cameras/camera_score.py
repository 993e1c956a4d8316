"""The one score of all answers to where the cameras are: how much of the image area and of the duration is explained, through a lens there is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fourfold.priors.cameras.bundle_system import Array, Sightings, Solved, camera_points, residuals
from fourfold.priors.cameras.spread_tracks import Film, cells_of
from fourfold.priors.cameras.track_places import depth_told


@dataclass(frozen=True)
class ScoreNumbers:
    """What an answer is judged by; pixels are those of an image whose longer side has 640.

    Attributes:
        cell: side of the cells of a frame that vote, pixels.
        near: residual in pixels within which an observation counts as explained.
        lens: focal lengths of plausible lenses, image widths.
        implausible: factor on the score of other lenses.
        upside_down: rank correlation between height in the image and distance below which the ground lies behind what stands on it.
        inverted: factor on the score of such a scene: something that moves and was taken for the scene often floats before its ground.
        deep: share of the explained tracks whose distance must be told for a camera to count as travelling.
        shallow: factor on the score where it is not: what only turned explains as much then.
    """

    cell: float = 40.0
    near: float = 1.5
    lens: tuple[float, float] = (0.4, 3.0)
    implausible: float = 0.5
    upside_down: float = -0.15
    inverted: float = 0.9
    deep: float = 0.5
    shallow: float = 0.8


@dataclass(frozen=True)
class Score:
    """The score of an answer and what it is made of.

    value: in [0, 1], larger is better; explained: share of area and duration within `near`; focal: image widths; ground: rank correlation of
    image y and nearness, 0 where it cannot be told; depth: share of the explained tracks whose distance is told, 1 for a camera that did
    not travel.
    """

    value: float
    explained: float
    focal: float
    ground: float
    depth: float


def score(film: Film, seen: Sightings, at: Solved, known_lens: bool = False, numbers: ScoreNumbers = ScoreNumbers()) -> Score:
    """Judge an answer by `seen`, which all rivals must share; `known_lens`: the file tells the focal length.

    Every cell of every frame that holds an observation has one vote: the mean over its observations of 1 / (1 + (e / near)^4), a share of what
    is explained that a small change of an error does not make jump.
    """
    r = residuals(seen, at)
    squared = (r[:, 0] ** 2 + r[:, 1] ** 2) / numbers.near**2
    value, explained = (_by_cell(film, seen, v, numbers.cell) for v in (1 / (1 + squared**2), (squared < 1).astype(np.float64)))
    widths = at.focal[np.bincount(seen.lens_of, minlength=len(at.focal)).argmax()] / film.sizes[0, 0]
    ground = ground_order(seen, at)
    if not known_lens and not numbers.lens[0] <= widths <= numbers.lens[1]:
        value *= numbers.implausible
    if ground < numbers.upside_down:
        value *= numbers.inverted
    depth = depth_told(seen, at) if at.translation.any() else 1.0
    if depth < numbers.deep:
        value *= numbers.shallow
    return Score(value, explained, float(widths), ground, depth)


def ground_order(seen: Sightings, at: Solved) -> float:
    """Median over the frames of the rank correlation of image y and nearness: positive where the ground is nearer than the walls."""
    if not at.translation.any():
        return 0.0
    depth = camera_points(seen, at)[:, 2] / at.inverse[seen.track]
    order = np.argsort(seen.frame, kind="stable")
    edges = np.searchsorted(seen.frame[order], np.arange(seen.frames + 1))
    found = []
    for frame in np.unique(np.linspace(0, seen.frames - 1, 12).astype(int)):
        rows = order[edges[frame] : edges[frame + 1]]
        rows = rows[depth[rows] > 0]
        if len(rows) >= 30:
            found.append(rank_correlation(seen.xy[rows, 1], -depth[rows]))
    return float(np.median(found)) if found else 0.0


def rank_correlation(one: Array, other: Array) -> float:
    """Spearman's correlation of two columns (N,): that of their ranks, equal values sharing the mean of theirs; NaN where all of one are equal.

    SciPy has it too, in a package that takes a third of a second to import.
    """
    ranks = [_ranks(one), _ranks(other)]
    return float(np.corrcoef(ranks)[0, 1]) if all(np.ptp(rank) > 0 for rank in ranks) else float("nan")


def _ranks(values: Array) -> Array:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def _by_cell(film: Film, seen: Sightings, value: Array, cell: float) -> float:
    cells = cells_of(film, seen, cell)
    count = np.bincount(cells)
    return float((np.bincount(cells, value)[count > 0] / count[count > 0]).mean()) if len(cells) else 0.0
