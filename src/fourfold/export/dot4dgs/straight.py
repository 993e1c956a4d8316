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
from fourfold.export.packing import INVISIBLE, moments_between
from fourfold.export.paths import camera_between
from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.projection import project
from fourfold.scene.scene import Scene


@dataclass(frozen=True)
class StraightConfig:
    """How closely straight pieces follow paths.

    Attributes:
        bend: how far a path may leave them, pixels; where it does there are twice as many, up to `finest` per moment asked for.
        finest: see `bend`.
    """

    bend: float = 0.02
    finest: int = 4


def finer(scene: Scene, capture: Capture, times: NDArray[np.float64], config: StraightConfig) -> NDArray[np.float64]:
    """`times`, with moments between them as long as straight pieces miss the paths by more than `config.bend` pixels."""
    centers = np.unique(np.clip(times, *scene.time_range))
    for _ in range(round(math.log2(config.finest))):
        if len(centers) < 2 or _worst_bend(scene, capture, centers) <= config.bend:
            break
        centers = np.unique(np.concatenate([centers, (centers[1:] + centers[:-1]) / 2]))
    return centers


def _worst_bend(scene: Scene, capture: Capture, centers: NDArray[np.float64]) -> float:
    """Pixels between paths and the straight pieces about `centers`, at the ends of a few pieces, where they are farthest apart."""
    edges = intervals(centers, *scene.time_range)
    worst = 0.0
    for time in moments_between(scene, 8):
        index = int(np.argmin(np.abs(centers - time)))
        center, (first, last) = float(centers[index]), edges[index]
        with torch.no_grad():
            one, two, three = scene.at_times([first, center, last])
            guess = two.means + (three.means - one.means) * ((last - center) / max(last - first, 1e-9))
            camera = camera_between(capture, 0, last)
            (right, depth), (wrong, _) = (project(p, camera.K.to(p), camera.world_to_camera.to(p)) for p in (three.means, guess))
            inside = (depth > scene.near) & (right >= 0).all(-1) & (right < right.new_tensor([camera.width, camera.height])).all(-1)
            shown = inside & (two.opacity >= INVISIBLE)
            worst = max(worst, float((right - wrong).norm(dim=-1)[shown].max()) if bool(shown.any()) else 0.0)
    return worst


def intervals(centers: NDArray[np.float64], begin: float, end: float) -> list[tuple[float, float]]:
    """The time each of `centers` stands for: up to half way to its neighbours."""
    inner = (centers[1:] + centers[:-1]) / 2
    return list(pairwise([begin, *(float(edge) for edge in inner), end]))


def about(scene: Scene, center: float, piece: tuple[float, float]) -> tuple[Tensor, Gaussians, Tensor]:
    """What is visible at `center`: rows of `scene.at`, their looks then (visibility within the opacity), and velocities (M, 3) through `piece`."""
    first, last = piece
    before, now, after = (g.detach().to(torch.float32).to("cpu") for g in scene.at_times([first, center, last]))
    finite = torch.stack([v.isfinite().all(-1) for v in (now.means, now.quat_wxyz, now.scale, now.color, after.means - before.means)]).all(0)
    rows = torch.nonzero((now.opacity >= INVISIBLE) & finite)[:, 0]
    shown, velocity = now.select(rows), ((after.means - before.means) / max(last - first, 1e-9))[rows]
    opacity = torch.logit(shown.opacity.clamp(max=1 - 1e-6))
    return rows, Gaussians(shown.means, shown.quat_wxyz, shown.log_scale, opacity, shown.color, shown.sh_rest), velocity
