"""Periodic relocation: dead Gaussians move to where gradient and opacity are high; the number stays (FreeTimeGS, spec A4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from fourfold.density.base import Edit, GrowthStatistics, Moment
from fourfold.density.mcmc import MOST_COPIES, relocated
from fourfold.scene.scene import Layer


@dataclass(frozen=True)
class ScoredRelocation:
    """Every `every` steps rows of base opacity at most `dead` become copies of rows drawn with probability proportional to a score.

    score = gradient_share * gradient / sum(gradient) + opacity_share * opacity / sum(opacity), the gradient being the mean norm of
    the screen gradient over the images that showed the Gaussian. Copies share opacity and size as in 3DGS-MCMC (equation 9).

    Attributes:
        begin, end: fractions of the stage between which it acts.
    """

    every: int = 100
    dead: float = 0.005
    gradient_share: float = 0.5
    opacity_share: float = 0.5
    begin: float = 0.02
    end: float = 0.85

    def __call__(self, layer: Layer, statistics: GrowthStatistics, moment: Moment, random: np.random.Generator) -> Edit | None:
        """What to change after this step, or None."""
        acting = self.begin * moment.steps <= moment.step < self.end * moment.steps
        if not acting or moment.step == 0 or moment.step % self.every:
            return None
        opacity = torch.sigmoid(layer.splats["opacity_logit"].detach()).double().cpu()
        alive = opacity > self.dead
        free = torch.nonzero(~alive)[:, 0]
        if len(free) == 0 or not alive.any():
            return None
        chance = self.score(opacity, statistics) * alive
        chosen = torch.from_numpy(random.choice(len(layer), len(free), p=(chance / chance.sum()).numpy()))
        source = torch.arange(len(layer))
        source[free] = chosen
        copies = torch.bincount(source, minlength=len(layer))[source].clamp_max(MOST_COPIES)
        faded, shrink = relocated(opacity[source], copies)
        like = layer.splats["means"]
        source, many = source.to(like.device), (copies > 1).to(like.device)
        logit = torch.log(faded / (1 - faded)).to(like)
        changes = {
            "opacity_logit": torch.where(many, logit, layer.splats["opacity_logit"].detach()[source]),
            "log_scale": layer.splats["log_scale"].detach()[source] + torch.where(many, shrink.log().to(like), 0.0)[:, None],
        }
        return Edit(source, many, changes)

    def score(self, opacity: torch.Tensor, statistics: GrowthStatistics) -> torch.Tensor:
        """(N,) sampling score of each Gaussian, float64."""
        gradient = (statistics.gradient / statistics.count.clamp_min(1)).double().cpu()
        return self.gradient_share * gradient / gradient.sum().clamp_min(1e-30) + self.opacity_share * opacity / opacity.sum()
