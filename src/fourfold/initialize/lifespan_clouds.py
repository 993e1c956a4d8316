"""Static points that live through the clip and moving points that live for three frames: spec sharptimegs_freetimegs.md B4."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from fourfold.capture.capture import Capture
from fourfold.initialize.background import BackgroundNumbers, static_layer
from fourfold.initialize.static_scene import scene_of
from fourfold.initialize.timed_clouds import RIG_BACKGROUND, MovingPoints, choose_points, joined
from fourfold.priors.contracts import Clouds, Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.lifespan import Lifespan, motion_divisor
from fourfold.scene.scene import DYNAMIC, Layer, Scene


@dataclass(frozen=True)
class LifespanClouds:
    """A static layer "static" and a layer "free" with lifespans; without `split` all Gaussians are in "free", as in the paper.

    Attributes:
        background: how the still part is sampled; moving: how the moving part is.
        motion: the motion model of "free", but for its unit, which is the time of a frame: lives of a few frames differ in how far they are
            slowed (f = 3.25 for three frames), and what lives through the clip stands still. Told in seconds f would be 2 for all.
        radius: r of moving points in frames: 1 is full visibility over three frames.
        sigma: fade in frames beyond it: 0.5 leaves exp(-4) two frames away.
        still_sigma: fade in frames of points that live through the clip.
        informed: False gives every moving point no velocity and the whole clip to live: the ablation without the initialisation.
    """

    background: BackgroundNumbers = RIG_BACKGROUND
    moving: MovingPoints = field(default_factory=MovingPoints)
    motion: Lifespan = Lifespan()
    radius: float = 1.0
    sigma: float = 0.5
    still_sigma: float = 1.0
    split: bool = True
    informed: bool = True

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The initial scene. FourfoldError if there is no prior "clouds"."""
        clouds = priors.require(Clouds)
        still = static_layer(capture, priors, quality, random, self.background)
        scene = scene_of([still], capture, priors)
        moving = choose_points(clouds, capture, self.moving, quality, random)
        frame = float(np.median(np.diff(capture.timestamps))) if capture.times > 1 else 1.0 / 30
        motion = replace(self.motion, unit=frame)
        middle, half = sum(scene.time_range) / 2, max(scene.time_range[1] - scene.time_range[0], frame) / 2
        parts: list[dict[str, torch.Tensor]] = []
        if not self.split:
            parts.append(with_life(still.splats, torch.full((len(still),), middle), half, self.still_sigma * frame))
        if moving is not None and self.informed:
            # key moments farther apart than three frames must still be covered
            radius = max(self.radius * frame, moving.gap / 2)
            part = with_life(moving.splats, moving.moment, radius, self.sigma * frame)
            part["velocity"] = moving.velocity * divisor(motion, part)[:, None]  # f is undone: the first motion is dx / dt
            parts.append(part)
        elif moving is not None:
            parts.append(with_life(moving.splats, torch.full_like(moving.moment, middle), half, self.still_sigma * frame))
        free = [Layer("free", DYNAMIC, motion, joined(parts))] if parts else []
        scene.layers = [still, *free] if self.split else free
        return scene


def divisor(motion: Lifespan, splats: dict[str, torch.Tensor]) -> torch.Tensor:
    """(N,) f of the lifespans of `splats`."""
    radius = splats["log_radius"].exp() if motion.flat else torch.zeros_like(splats["log_radius"])
    return motion_divisor(splats["log_duration"].exp(), radius, motion.slowed, motion.unit)


def with_life(splats: dict[str, torch.Tensor], moment: torch.Tensor, radius: float, sigma: float) -> dict[str, torch.Tensor]:
    """`splats` with a lifespan around `moment` (N,) seconds and no velocity; `radius` and `sigma` in seconds."""
    life = {
        "velocity": torch.zeros(len(moment), 3),
        "time_center": moment,
        "log_duration": torch.full_like(moment, float(np.log(sigma))),
        "log_radius": torch.full_like(moment, float(np.log(radius))),
    }
    return {**splats, **life}
