"""Velocity-lifespan-aware refinement: spec sharptimegs_freetimegs.md B3, second phase.

Canonical times stay as they are and so does the number of Gaussians; the dead move to where the rendering is wrong, opacity is high,
and Gaussians are fast and short-lived: s = lambda_e E + lambda_o O + lambda_l (1 - exp(-(|v| + 1) / f)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fourfold.density.base import Edit, GrowthStatistics, Moment
from fourfold.density.scored_relocation import due, move_dead, useful
from fourfold.scene.motion.lifespan import Lifespan, motion_divisor
from fourfold.scene.scene import Layer


@dataclass(frozen=True)
class LifespanRelocation:
    """Relocation by rendering error, opacity and lifespan.

    Attributes:
        least: as in `ScoredRelocation`.
        error, opacity, lifespan: the three lambdas; E and O are divided by their largest value first. The paper does not tell them.
        begin, end: fractions of the stage between which it acts.

    E is what `losses.error_watch` gathers in the splat "watched_error" (N, 2), or the screen gradient where nothing is gathered.
    Velocities count in extents per second; ||v + 1|| is read as |v| + 1, since 1 added to each component would make the score depend on directions.
    """

    every: int = 100
    dead: float = 0.005
    least: float = 0.0
    error: float = 0.5
    opacity: float = 0.5
    lifespan: float = 0.5
    begin: float = 0.02
    end: float = 0.85

    def __call__(self, layer: Layer, statistics: GrowthStatistics, moment: Moment, random: np.random.Generator) -> Edit | None:
        """What to change after this step, or None."""
        if not due(moment, self.every, self.begin, self.end):
            return None
        opacity = torch.sigmoid(layer.splats["opacity_logit"].detach()).double().cpu()
        edit = move_dead(layer, useful(opacity, self.dead, self.least), self.score(layer, statistics, moment.extent), random)
        if "watched_error" in layer.splats:
            layer.splats["watched_error"] = torch.zeros_like(layer.splats["watched_error"])
        return edit

    def score(self, layer: Layer, statistics: GrowthStatistics, extent: float) -> Tensor:
        """(N,) sampling score of each Gaussian, float64."""
        splats = {name: value.detach().double().cpu() for name, value in layer.splats.items()}
        if "watched_error" in splats:
            error = splats["watched_error"][:, 0] / splats["watched_error"][:, 1].clamp_min(1e-6)
        else:
            error = (statistics.gradient / statistics.count.clamp_min(1)).double().cpu()
        opacity = torch.sigmoid(splats["opacity_logit"])
        velocity = splats["velocity"] / extent
        reach = velocity.norm(dim=1) + 1
        motion = layer.motion if isinstance(layer.motion, Lifespan) else Lifespan()
        radius = splats["log_radius"].exp() if motion.flat else torch.zeros_like(splats["log_radius"])
        divisor = motion_divisor(splats["log_duration"].exp(), radius, motion.slowed, motion.unit)
        fast_and_short = 1 - torch.exp(-reach / divisor)
        return (
            self.error * error / error.max().clamp_min(1e-30)
            + self.opacity * opacity / opacity.max().clamp_min(1e-30)
            + self.lifespan * fast_and_short
        )
