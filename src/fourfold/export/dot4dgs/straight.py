"""Any motion as straight pieces about moments, each with the looks of its moment: as many as keep the paths within a part of a pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
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


def finer(scene: Scene, capture: Capture, times: NDArray[np.float64], config: StraightConfig, most: int) -> NDArray[np.float64]:
    """`times`, with moments between them as long as straight pieces miss the paths by more than `config.bend` pixels and `most` allows."""
    centers = np.unique(np.clip(times, *scene.time_range))
    for _ in range(round(math.log2(config.finest))):
        if len(centers) < 2 or 2 * len(centers) > most or _worst_bend(scene, capture, centers) <= config.bend:
            break
        centers = np.unique(np.concatenate([centers, (centers[1:] + centers[:-1]) / 2]))
    return centers


def _worst_bend(scene: Scene, capture: Capture, centers: NDArray[np.float64]) -> float:
    """Pixels between paths and the straight pieces about `centers`, at the ends of a few pieces, where they are farthest apart."""
    edges = intervals(centers, *scene.time_range)
    worst = 0.0
    for time in moments_between(scene, LOOKED_AT):
        index = int(np.argmin(np.abs(centers - time)))
        center, (first, last) = float(centers[index]), edges[index]
        with torch.no_grad():
            one, two, three = scene.at_times([first, center, last])
            guess = two.means + _velocity(one, two, three, (center - first, last - center)) * (last - center)
            camera = camera_between(capture, 0, last)
            (right, depth), (wrong, _) = (project(p, camera.K.to(p), camera.world_to_camera.to(p)) for p in (three.means, guess))
            inside = (depth > scene.near) & (right >= 0).all(-1) & (right < right.new_tensor([camera.width, camera.height])).all(-1)
            shown = inside & (two.opacity >= INVISIBLE) & (three.opacity >= INVISIBLE)
            worst = max(worst, float((right - wrong).norm(dim=-1)[shown].max()) if bool(shown.any()) else 0.0)
    return worst


def intervals(centers: NDArray[np.float64], begin: float, end: float) -> list[tuple[float, float]]:
    """The time each of `centers` stands for: up to half way to its neighbours."""
    inner = (centers[1:] + centers[:-1]) / 2
    return list(pairwise([begin, *(float(edge) for edge in inner), end]))


def about(scene: Scene, center: float, piece: tuple[float, float]) -> tuple[Tensor, Gaussians, Tensor]:
    """What is visible at `center`: rows of `scene.at`, their looks then (visibility within the opacity), and velocities (M, 3) through `piece`."""
    before, now, after = scene.at_times([piece[0], center, piece[1]])
    rows, shown = drawn(now)
    velocity = _velocity(before, now, after, (center - piece[0], piece[1] - center))[rows]
    steady = velocity.isfinite().all(dim=1)
    return rows[steady], shown.select(steady), velocity[steady]


def _velocity(before: Gaussians, now: Gaussians, after: Gaussians, spans: tuple[float, float]) -> Tensor:
    """(N, 3) units per second from the moments at which a Gaussian is there: one that comes or goes says nothing of where it is beyond."""
    early, late = (((g.opacity > 0) & bool(span > 0))[:, None] for g, span in zip((before, after), spans, strict=True))
    start, end = torch.where(early, before.means, now.means), torch.where(late, after.means, now.means)
    return ((end - start) / (early * spans[0] + late * spans[1]).clamp_min(1e-9)).detach().float().cpu()
