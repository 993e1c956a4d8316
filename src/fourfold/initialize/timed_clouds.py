"""Point clouds at several moments become freely moving Gaussians with a lifetime: spec sharptimegs_freetimegs.md A2.

What stands still is sampled once over all images and lives through the whole clip; what moves comes as one cloud per key moment, lives
around it, and starts with the velocity that the prior found.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from fourfold.capture.capture import Capture
from fourfold.initialize.background import BackgroundNumbers, static_layer
from fourfold.initialize.splats import make_splats
from fourfold.initialize.static_scene import scene_of
from fourfold.priors.contracts import Clouds, Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.linear import Linear
from fourfold.scene.scene import DYNAMIC, Layer, Scene

RIG_BACKGROUND = BackgroundNumbers(count=20_000, frames=40, opacity=0.7, spacing_share=0.6)
"""Every camera of a rig shows the background; spec calibration.md B: 15-25 thousand Gaussians at 320x180."""


@dataclass(frozen=True)
class MovingPoints:
    """How moving Gaussians are taken from clouds.

    Attributes:
        count: at quality "normal", over all key moments.
        jitter: how far points are moved at random, in point spacings: voxels lie on a lattice.
        size: standard deviation of a Gaussian, in point spacings.
        opacity: at the start.
    """

    count: int = 45_000
    jitter: float = 0.35
    size: float = 0.45
    opacity: float = 0.5


@dataclass(frozen=True)
class Moving:
    """N moving points chosen from clouds: their splats (means, colours, sizes), velocity (N, 3), moment (N,) and the key moments' gap, seconds."""

    splats: dict[str, torch.Tensor]
    velocity: torch.Tensor
    moment: torch.Tensor
    gap: float


@dataclass(frozen=True)
class TimedClouds:
    """A static layer "static" and a layer "free" with linear motion; without `split` all Gaussians are in "free", as in the paper.

    Attributes:
        background: how the still part is sampled.
        moving: how the moving part is.
        duration: standard deviation of the lifetime, in units of the time between key moments (spec calibration.md B: 0.9).
        spread: time centres are spread evenly over this share of that time around each key moment.
        sh_degree: of the view-dependent colour; on rigs with few cameras 0 generalises best (spec calibration.md B).
    """

    background: BackgroundNumbers = RIG_BACKGROUND
    moving: MovingPoints = field(default_factory=MovingPoints)
    duration: float = 0.9
    spread: float = 1.0
    sh_degree: int = 0
    split: bool = True

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The initial scene. FourfoldError if there is no prior "clouds"."""
        clouds = priors.require(Clouds)
        still = static_layer(capture, priors, quality, random, self.background)
        scene = scene_of([still], capture, priors)
        moving = choose_points(clouds, capture, self.moving, quality, random)
        parts = [] if moving is None else [self._living(moving, random)]
        if self.split:
            scene.layers = [still, *(Layer("free", DYNAMIC, Linear(), part) for part in parts)]
        else:
            scene.layers = [Layer("free", DYNAMIC, Linear(), joined([_resting(still.splats, scene.time_range), *parts]))]
        if self.sh_degree:
            for layer in scene.layers:
                layer.splats["sh_rest"] = torch.zeros(len(layer), (self.sh_degree + 1) ** 2 - 1, 3)
        return scene

    def _living(self, moving: Moving, random: np.random.Generator) -> dict[str, torch.Tensor]:
        shift = torch.from_numpy(random.uniform(-0.5, 0.5, len(moving.moment)).astype(np.float32)) * self.spread * moving.gap
        splats = dict(moving.splats)
        splats["means"] = splats["means"] + moving.velocity * shift[:, None]
        splats["velocity"] = moving.velocity
        splats["time_center"] = moving.moment + shift
        splats["log_duration"] = torch.full_like(shift, float(np.log(self.duration * moving.gap)))
        return splats


def choose_points(clouds: Clouds, capture: Capture, numbers: MovingPoints, quality: Quality, random: np.random.Generator) -> Moving | None:
    """About `numbers.count * quality.gaussians` points of all clouds, evenly; None if the clouds are empty."""
    total = len(clouds.xyz)
    if total == 0:
        return None
    wanted = min(total, max(100, round(numbers.count * quality.gaussians)))
    chosen = np.sort(random.choice(total, wanted, replace=False))
    spacing = clouds.spacing[chosen] * np.sqrt(total / wanted)  # fewer points of a surface lie farther apart
    means = clouds.xyz[chosen] + random.uniform(-1, 1, (wanted, 3)) * (numbers.jitter * clouds.spacing[chosen])[:, None]
    seconds = capture.timestamps[np.unique(clouds.index)]
    gap = float(np.median(np.diff(seconds))) if len(seconds) > 1 else max(float(capture.timestamps[-1]), 1.0 / 30)
    return Moving(
        make_splats(means, clouds.color[chosen], numbers.size * spacing, numbers.opacity),
        torch.from_numpy(clouds.velocity[chosen].astype(np.float32)),
        torch.from_numpy(capture.timestamps[clouds.index[chosen]].astype(np.float32)),
        gap,
    )


def _resting(splats: dict[str, torch.Tensor], time_range: tuple[float, float]) -> dict[str, torch.Tensor]:
    """Still Gaussians as freely moving ones of no velocity that live through the clip."""
    count, length = len(splats["means"]), max(time_range[1] - time_range[0], 1e-3)
    moment = torch.full((count,), sum(time_range) / 2)
    return {**splats, "velocity": torch.zeros(count, 3), "time_center": moment, "log_duration": torch.full((count,), float(np.log(2 * length)))}


def joined(parts: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The rows of all `parts`, one after another; all have the same names."""
    return {name: torch.cat([part[name] for part in parts]).contiguous() for name in parts[0]}
