"""Point clouds at several moments become freely moving Gaussians with a lifetime: spec sharptimegs_freetimegs.md A2.

What stands still is sampled once over all images and lives through the whole clip; what moves is sampled at every key moment, lives
around it, and starts with the velocity towards its nearest neighbours in the next key moment's cloud.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.initialize.background import BackgroundNumbers, static_layer
from fourfold.initialize.frames import read_frame
from fourfold.initialize.splats import make_splats, neighbour_spacing
from fourfold.initialize.static_scene import scene_of
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.linear import Linear
from fourfold.scene.scene import DYNAMIC, Layer, Scene


@dataclass(frozen=True)
class TimedClouds:
    """One layer "free" with linear motion; with `split` the still part is a static layer of its own.

    Attributes:
        background: how the still part is sampled.
        moving: moving Gaussians at quality "normal", over all key moments.
        key_moments: at most so many; all recorded moments if there are fewer.
        duration: standard deviation of the lifetime, in units of the time between key moments.
        neighbours: of the next cloud, whose mean displacement is the velocity.
        reach: displacements beyond this many times the local point spacing are taken for wrong and become 0.
        opacity: of moving Gaussians at the start.
        sh_degree: of the view-dependent colour.
    """

    background: BackgroundNumbers = BackgroundNumbers()
    moving: int = 25_000
    key_moments: int = 12
    duration: float = 1.0
    neighbours: int = 3
    reach: float = 10.0
    opacity: float = 0.5
    sh_degree: int = 0
    split: bool = False

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The initial scene. FourfoldError if nothing is known about depth."""
        priors.require("depth")
        still = static_layer(capture, priors, quality, random, self.background)
        scene = scene_of([still], capture, priors)
        moving = self._moving(capture, priors, max(100, round(self.moving * quality.gaussians)), random)
        parts = [] if moving is None else [moving]
        if self.split:
            scene.layers = [still, *(Layer("free", DYNAMIC, Linear(), part) for part in parts)]
        else:
            scene.layers = [Layer("free", DYNAMIC, Linear(), _joined([_resting(still.splats, scene.time_range), *parts]))]
        for layer in scene.layers:
            if self.sh_degree:
                layer.splats["sh_rest"] = torch.zeros(len(layer), (self.sh_degree + 1) ** 2 - 1, 3)
        return scene

    def _moving(self, capture: Capture, priors: Priors, count: int, random: np.random.Generator) -> dict[str, torch.Tensor] | None:
        times = np.flatnonzero(capture.train.any(axis=0))
        keys = times[np.unique(np.linspace(0, len(times) - 1, min(self.key_moments, len(times))).round().astype(int))]
        clouds = [_cloud(capture, priors, int(t), count // len(keys), random) for t in keys]
        filled = [i for i, (points, _) in enumerate(clouds) if len(points)]
        if not filled:
            return None
        seconds = capture.timestamps[keys]
        gap = float(np.median(np.diff(seconds))) if len(keys) > 1 else max(float(capture.timestamps[-1]), 1.0)
        parts = []
        for number, i in enumerate(filled):
            points, color = clouds[i]
            other = filled[number + 1] if number + 1 < len(filled) else filled[number - 1]
            velocity = nearest_velocity(points, clouds[other][0], float(seconds[other] - seconds[i]), self.neighbours, self.reach)
            splats = make_splats(points, color, neighbour_spacing(points) * self.background.spacing_share, self.opacity)
            splats["velocity"] = torch.from_numpy(velocity)
            splats["time_center"] = torch.from_numpy((seconds[i] + random.uniform(-0.5, 0.5, len(points)) * gap).astype(np.float32))
            splats["means"] += splats["velocity"] * (splats["time_center"] - float(seconds[i]))[:, None]
            splats["log_duration"] = torch.full((len(points),), float(np.log(self.duration * gap)))
            parts.append(splats)
        return _joined(parts)


def nearest_velocity(
    points: NDArray[np.floating], later: NDArray[np.floating], gap: float, neighbours: int = 3, reach: float = 10.0
) -> NDArray[np.float32]:
    """(N, 3) velocity of `points` (N, 3), scene units per second, towards their nearest neighbours in the cloud `gap` seconds later.

    The mean displacement of the whole cloud is taken off before the neighbours are searched and put back afterwards, so that a body
    that moves farther than its points are apart is followed. Displacements beyond `reach` point spacings become the cloud's.
    """
    if gap == 0 or len(later) < neighbours:
        return np.zeros((len(points), 3), np.float32)
    drift = later.mean(axis=0) - points.mean(axis=0)
    spacing = float(np.median(neighbour_spacing(points)))
    distance, index = cKDTree(later).query(points + drift, k=neighbours)
    step = later[index].reshape(len(points), -1, 3).mean(axis=1) - points
    wrong = np.asarray(distance).reshape(len(points), -1).mean(axis=1) > reach * spacing
    step[wrong] = drift
    return (step / gap).astype(np.float32)


def _cloud(capture: Capture, priors: Priors, index: int, count: int, random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """About `count` coloured points of what moves at time `index`, from all training views."""
    points, colors = [np.zeros((0, 3))], [np.zeros((0, 3), np.float32)]
    for view in np.flatnonzero(capture.train[:, index]):
        frame = read_frame(capture, priors, int(view), index)
        row, column = np.nonzero(frame.moving & (frame.depth > 0))
        if len(row) == 0:
            continue
        points.append(frame.unproject(row, column, frame.depth[row, column]))
        colors.append(frame.color[row, column])
    every, color = np.concatenate(points), np.concatenate(colors)
    chosen = random.choice(len(every), min(count, len(every)), replace=False) if len(every) else np.zeros(0, int)
    return every[chosen], color[chosen]


def _resting(splats: dict[str, torch.Tensor], time_range: tuple[float, float]) -> dict[str, torch.Tensor]:
    """Still Gaussians as freely moving ones of no velocity that live through the clip."""
    count, length = len(splats["means"]), max(time_range[1] - time_range[0], 1e-3)
    moment = torch.full((count,), sum(time_range) / 2)
    return {**splats, "velocity": torch.zeros(count, 3), "time_center": moment, "log_duration": torch.full((count,), float(np.log(2 * length)))}


def _joined(parts: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    if not parts:
        raise FourfoldError("there is nothing to start from")
    return {name: torch.cat([part[name] for part in parts]).contiguous() for name in parts[0]}
