"""Any motion as straight pieces about moments, each with the looks of its moment: as many as keep the paths within a part of a pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.export.packing import moments_between
from fourfold.export.paths import camera_between
from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.projection import project
from fourfold.scene.scene import Scene
from fourfold.splats.drawn import INVISIBLE, drawn

LOOKED_AT = 24  # pieces that are measured


@dataclass(frozen=True)
class StraightConfig:
    """How closely straight pieces follow paths.

    Attributes:
        bend: how far a path may leave them, pixels; where it does there are twice as many, up to `finest` per moment asked for.
        finest: see `bend`.
    """

    bend: float = 0.04
    finest: int = 16


@dataclass(frozen=True)
class Cuts:
    """A recording cut into pieces: (n,) moments whose looks the pieces have, and (n + 1,) seconds at which they begin and end."""

    centers: NDArray[np.float64]
    edges: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.centers)

    def pieces(self) -> list[tuple[float, tuple[float, float]]]:
        """(moment, (beginning, end)) of each piece."""
        ends = [float(edge) for edge in self.edges]
        return list(zip((float(center) for center in self.centers), pairwise(ends), strict=True))


def finer(scene: Scene, capture: Capture, times: NDArray[np.float64], config: StraightConfig, most: int) -> Cuts:
    """Pieces for the moments `times`: the fewest that leave the paths by no more than `config.bend` pixels, else those that leave them least.

    Pieces about moments serve paths that are smooth there. Paths that have a corner at a moment or half-way between two, where motion models
    have their knots and Gaussians their beginnings, are left by any piece that goes over it, and by half as much only by pieces half as long:
    for those, pieces end there.
    """
    centers = np.unique(np.clip(times, *scene.time_range))
    best, least = _about(centers, *scene.time_range), math.inf
    for level in range(round(math.log2(config.finest)) + 1):
        for cuts in (_about(_halved(centers, level), *scene.time_range), _between(_halved(centers, level), *scene.time_range)):
            if level and len(cuts) > most:
                continue
            bend = _worst_bend(scene, capture, cuts)
            if bend < least:
                best, least = cuts, bend
            if bend <= config.bend or len(centers) < 2:
                return cuts
    return best


def _halved(moments: NDArray[np.float64], times: int) -> NDArray[np.float64]:
    """`moments` with those half-way between them, so many times."""
    for _ in range(times):
        moments = np.unique(np.concatenate([moments, (moments[1:] + moments[:-1]) / 2]))
    return moments


def _about(centers: NDArray[np.float64], begin: float, end: float) -> Cuts:
    """A piece about each of `centers`, up to half way to its neighbours."""
    return Cuts(centers, np.concatenate([[begin], (centers[1:] + centers[:-1]) / 2, [end]]))


def _between(centers: NDArray[np.float64], begin: float, end: float) -> Cuts:
    """Pieces from each of `centers` to half way to the next, and from there to it: about twice as many."""
    edges = np.unique(np.concatenate([[begin, end], _halved(centers, 1)]))
    return Cuts((edges[1:] + edges[:-1]) / 2, edges) if len(edges) > 1 else _about(centers, begin, end)


def _worst_bend(scene: Scene, capture: Capture, cuts: Cuts) -> float:
    """Pixels between paths and the straight pieces `cuts`, at the ends of a few pieces, where they are farthest apart."""
    worst, pieces = 0.0, cuts.pieces()
    for time in moments_between(scene, LOOKED_AT):
        center, (first, last) = pieces[int(np.clip(np.searchsorted(cuts.edges, time) - 1, 0, len(pieces) - 1))]
        with torch.no_grad():
            one, two, three = scene.at_times([first, center, last])
            middle, velocity = _line(one, two, three, (center - first, last - center))
            camera = camera_between(capture, 0, last)
            for truth, guess in ((two, middle), (three, middle + velocity * (last - center))):
                (right, depth), (wrong, _) = (project(p, camera.K.to(p), camera.world_to_camera.to(p)) for p in (truth.means, guess))
                inside = (depth > scene.near) & (right >= 0).all(-1) & (right < right.new_tensor([camera.width, camera.height])).all(-1)
                shown = inside & (two.opacity >= INVISIBLE) & (truth.opacity >= INVISIBLE)
                worst = max(worst, float((right - wrong).norm(dim=-1)[shown].max()) if bool(shown.any()) else 0.0)
    return worst


def about(scene: Scene, center: float, piece: tuple[float, float]) -> tuple[Tensor, Gaussians, Tensor]:
    """What is visible at `center`: rows of `scene.at`, their looks then (visibility within the opacity), at positions and with velocities (M, 3)
    of a straight line through `piece`."""
    before, now, after = scene.at_times([piece[0], center, piece[1]])
    middle, velocity = (value.detach().float().cpu() for value in _line(before, now, after, (center - piece[0], piece[1] - center)))
    rows, shown = drawn(now)
    steady = velocity[rows].isfinite().all(dim=1) & middle[rows].isfinite().all(dim=1)
    rows = rows[steady]
    return rows, replace(shown.select(steady), means=middle[rows]), velocity[rows]


def _line(before: Gaussians, now: Gaussians, after: Gaussians, spans: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """(N, 3) positions at the middle and (N, 3) units per second of the straight lines that leave paths least: the slope of the chord, half-way
    between chord and path, which for a parabola is nowhere farther from it than at the middle and the ends.

    One that comes or goes says nothing of where it is beyond: then the line goes through the moments at which it is there.
    """
    early, late = (((g.opacity > 0) & bool(span > 0))[:, None] for g, span in zip((before, after), spans, strict=True))
    start, end = torch.where(early, before.means, now.means), torch.where(late, after.means, now.means)
    velocity = (end - start) / (early * spans[0] + late * spans[1]).clamp_min(1e-9)
    above = torch.where(early & late, start + velocity * spans[0] - now.means, torch.zeros_like(start))
    return now.means + above / 2, velocity
