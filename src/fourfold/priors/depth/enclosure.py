"""The surface that encloses a stage (walls, floor, sky), fitted to uncertain points: 1 / distance as a smooth function of direction.

A plane n.x = d, seen from inside, has the inverse distance n.w / d in direction w: a spherical harmonic of degree one. What is
penalised is the rest, so floors and walls cost nothing and directions without points are continued flat. Fitted robustly: wrong
points do not pull. Source: spec calibration.md B ("robust surfaces and cast pixel rays"), without assuming a dome.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import sph_harm_y

from fourfold.priors.tracking.track_step import remapped

Points = NDArray[np.float64]
_FARTHEST = 50.0


@dataclass(frozen=True)
class EnclosureNumbers:
    """How the surface is fitted.

    Attributes:
        degree: of the spherical harmonics; 14 resolves about 13 degrees.
        bending: weight of the penalty, as a share of the weight of all points.
        rounds: of reweighting; loose, tight: relative misfit at which a point counts half, in the first and in the last round.
        table: rows of the table of inverse distances over latitude.
    """

    degree: int = 14
    bending: float = 1e-6
    rounds: int = 8
    loose: float = 0.3
    tight: float = 0.02
    table: int = 180


@dataclass(frozen=True)
class Enclosure:
    """A star-shaped surface around `center` (3,).

    Attributes:
        inverse: (R, 2R) float32 inverse distance over colatitude 0..pi from +z and longitude -pi..pi, nodes at cell centres.
        radius: a typical distance, scene units.
    """

    center: Points
    inverse: NDArray[np.float32]
    radius: float

    def inside(self, points: Points) -> NDArray[np.float64]:
        """(N,) positive inside and negative outside: 1 - |x - c| / distance of the surface in that direction."""
        offset = points - self.center
        length = np.linalg.norm(offset, axis=1)
        return 1 - length * self.inverse_distance(offset / np.maximum(length, 1e-12)[:, None])

    def inverse_distance(self, directions: Points) -> NDArray[np.float64]:
        """(N,) inverse distance of the surface along unit `directions` (N, 3), bilinear in the table."""
        rows, columns = self.inverse.shape
        polar = np.arccos(np.clip(directions[:, 2], -1, 1)) / np.pi * rows - 0.5
        around = (np.arctan2(directions[:, 1], directions[:, 0]) / (2 * np.pi) + 0.5) * columns - 0.5
        wide = np.concatenate([self.inverse[:, -1:], self.inverse, self.inverse[:, :1]], axis=1)
        return remapped(wide, around[:, None] + 1, polar[:, None])[:, 0].astype(np.float64)

    def depth(self, K: NDArray[np.float64], world_to_camera: NDArray[np.float64], height: int, width: int, reduce: int = 2) -> NDArray[np.float32]:
        """(H, W) depth along the optical axis at which the ray of each pixel leaves the enclosure.

        Computed on every `reduce`th pixel and interpolated. A camera outside sees the far side. `_FARTHEST` radii at most.
        """
        rows, columns = -(-height // reduce), -(-width // reduce)
        y, x = np.mgrid[0:rows, 0:columns].astype(np.float64)
        xy = np.stack([(x.ravel() + 0.5) * width / columns, (y.ravel() + 0.5) * height / rows, np.ones(rows * columns)], 1)
        rays = xy @ np.linalg.inv(K).T @ world_to_camera[:3, :3]
        origin = -world_to_camera[:3, :3].T @ world_to_camera[:3, 3]
        inverse = (1 / self._leaving(origin, rays)).reshape(rows, columns).astype(np.float32)
        return (1 / cv2.resize(inverse, (width, height), interpolation=cv2.INTER_LINEAR)).astype(np.float32)

    def _leaving(self, origin: Points, rays: Points) -> NDArray[np.float64]:
        """(N,) largest step along `rays` at which they are still inside, in units of the ray's length."""
        reach = float(np.linalg.norm(origin - self.center)) + _FARTHEST * self.radius
        steps = np.geomspace(0.02 * self.radius, reach, 160)
        last = np.full(len(rays), steps[0])
        beyond = np.full(len(rays), reach)
        open_ = np.ones(len(rays), bool)
        for before, after in itertools.pairwise(steps):
            chosen = np.flatnonzero(open_)
            if len(chosen) == 0:
                break
            within = self.inside(origin + rays[chosen] * after) > 0
            toward = ((self.center - origin - rays[chosen] * after) * rays[chosen]).sum(1) > 0  # outside and still approaching
            stop = chosen[~within & ~toward]
            last[stop], beyond[stop] = before, after
            open_[stop] = False
        last[open_] = reach
        for _ in range(12):
            middle = (last + beyond) / 2
            within = self.inside(origin + rays * middle[:, None]) > 0
            last, beyond = np.where(within, middle, last), np.where(within, beyond, middle)
        return last


def fit_enclosure(points: Points, weight: NDArray[np.floating], center: Points, numbers: EnclosureNumbers = EnclosureNumbers()) -> Enclosure:
    """The enclosure around `center` (3,) that most of `points` (N, 3) lie on, with `weight` (N,)."""
    offset = points - center
    length = np.linalg.norm(offset, axis=1)
    basis = _harmonics(offset / length[:, None], numbers.degree)
    degrees = np.concatenate([np.full(2 * n + 1, n) for n in range(numbers.degree + 1)])
    penalty = ((degrees - 1.0) * (degrees + 2.0)) ** 2 * (degrees > 1)
    radius = float(np.median(length))
    scaled = basis * (length / radius)[:, None]  # relative misfit: 1 - length * inverse
    start = weight.astype(np.float64) / weight.sum()
    coefficients = np.zeros(len(degrees))
    for turn in range(numbers.rounds):
        if turn == 0:
            trust = start
        else:
            limit = numbers.loose * (numbers.tight / numbers.loose) ** ((turn - 1) / max(numbers.rounds - 2, 1))
            trust = start / (1 + ((scaled @ coefficients - 1) / limit) ** 2) ** 2
            trust /= trust.sum()
        normal = scaled.T @ (scaled * trust[:, None]) + numbers.bending * np.diag(penalty + 1e-3)
        coefficients = np.linalg.solve(normal, scaled.T @ trust)
    rows = numbers.table
    polar = (np.arange(rows) + 0.5) / rows * np.pi
    around = (np.arange(2 * rows) + 0.5) / rows * np.pi - np.pi
    directions = np.stack(
        [np.outer(np.sin(polar), np.cos(around)), np.outer(np.sin(polar), np.sin(around)), np.outer(np.cos(polar), np.ones_like(around))], -1
    )
    inverse = (_harmonics(directions.reshape(-1, 3), numbers.degree) @ coefficients).reshape(rows, 2 * rows) / radius
    return Enclosure(center, np.clip(inverse, 1 / (0.9 * _FARTHEST * radius), None).astype(np.float32), radius)


def _harmonics(directions: Points, degree: int) -> NDArray[np.float64]:
    """(N, (degree + 1)^2) real spherical harmonics of unit `directions` (N, 3)."""
    polar, around = np.arccos(np.clip(directions[:, 2], -1, 1)), np.arctan2(directions[:, 1], directions[:, 0])
    columns: list[NDArray[np.float64]] = []
    for n in range(degree + 1):
        positive = [np.asarray(sph_harm_y(n, m, polar, around)) for m in range(n + 1)]
        columns += [np.sqrt(2) * y.imag for y in positive[:0:-1]] + [positive[0].real] + [np.sqrt(2) * y.real for y in positive[1:]]
    return np.stack(columns, axis=1)
