"""Periodic relocation: dead Gaussians move to where gradient and opacity are high; the number stays (FreeTimeGS, spec A4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fourfold.density.base import Edit, GrowthStatistics, Moment
from fourfold.density.mcmc import MOST_COPIES, relocated
from fourfold.scene.scene import Layer


@dataclass(frozen=True)
class ScoredRelocation:
    """Every `every` steps rows of base opacity at most `dead` become copies of rows drawn with probability proportional to a score.

    score = gradient_share * gradient / sum(gradient) + opacity_share * opacity / sum(opacity), the gradient being the mean norm of
    the screen gradient over the images that showed the Gaussian. Copies share opacity and size as in 3DGS-MCMC (equation 9).

    Attributes:
        least: at each event this share of the rows, the faintest, counts as dead in any case. Published is 0: within a laptop's steps no opacity
            comes near `dead`, and without a share nothing would ever move.
        begin, end: fractions of the stage between which it acts.
    """

    every: int = 100
    dead: float = 0.005
    least: float = 0.0
    gradient_share: float = 0.5
    opacity_share: float = 0.5
    begin: float = 0.02
    end: float = 0.85

    def __call__(self, layer: Layer, statistics: GrowthStatistics, moment: Moment, random: np.random.Generator) -> Edit | None:
        """What to change after this step, or None."""
        if not due(moment, self.every, self.begin, self.end):
            return None
        opacity = torch.sigmoid(layer.splats["opacity_logit"].detach()).double().cpu()
        return move_dead(layer, useful(opacity, self.dead, self.least), self.score(opacity, statistics), random)

    def score(self, opacity: Tensor, statistics: GrowthStatistics) -> Tensor:
        """(N,) sampling score of each Gaussian, float64."""
        gradient = (statistics.gradient / statistics.count.clamp_min(1)).double().cpu()
        return self.gradient_share * gradient / gradient.sum().clamp_min(1e-30) + self.opacity_share * opacity / opacity.sum().clamp_min(1e-30)


def due(moment: Moment, every: int, begin: float, end: float) -> bool:
    """Whether a policy that acts every `every` steps between two fractions of the stage acts now."""
    return begin * moment.steps <= moment.step < end * moment.steps and moment.step > 0 and moment.step % every == 0


def useful(opacity: Tensor, dead: float, least: float) -> Tensor:
    """(N,) bool: of base opacity (N,) above `dead`, and not among the faintest share `least`."""
    alive = opacity > dead
    alive[torch.topk(opacity, int(least * len(opacity)), largest=False).indices] = False
    return alive


def move_dead(layer: Layer, alive: Tensor, score: Tensor, random: np.random.Generator) -> Edit | None:
    """Rows that are not `alive` (N,) become copies of living ones drawn by `score` (N,) float64; None if there is nothing to do.

    What is drawn stays as it was: n copies share the opacity and the size of the one they come from.
    """
    free = torch.nonzero(~alive)[:, 0]
    chance = score * alive
    if len(free) == 0 or float(chance.sum()) <= 0:
        return None
    chosen = torch.from_numpy(random.choice(len(layer), len(free), p=(chance / chance.sum()).numpy()))
    source = torch.arange(len(layer))
    source[free] = chosen
    copies = torch.bincount(source, minlength=len(layer))[source].clamp_max(MOST_COPIES)
    opacity = torch.sigmoid(layer.splats["opacity_logit"].detach()).double().cpu()
    faded, shrink = relocated(opacity[source], copies)
    like = layer.splats["means"]
    source, many = source.to(like.device), (copies > 1).to(like.device)
    logit = torch.log(faded / (1 - faded)).to(like)
    changes = {
        "opacity_logit": torch.where(many, logit, layer.splats["opacity_logit"].detach()[source]),
        "log_scale": layer.splats["log_scale"].detach()[source] + torch.where(many, shrink.log().to(like), 0.0)[:, None],
    }
    return Edit(source, many, changes)
