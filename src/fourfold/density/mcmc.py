"""3D Gaussian splatting as Markov chain Monte Carlo: dead Gaussians move to living ones without changing the picture.

Kheradmand et al. 2024, equation 9: a Gaussian of opacity o that becomes n copies at the same place gets the opacity
1 - (1 - o)^(1/n) and standard deviations that keep its blended profile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fourfold.density.base import Edit, GrowthStatistics, Moment
from fourfold.scene.scene import Layer

MOST_COPIES = 51
"""Copies beyond this number are treated as this number: the series below alternates and loses its digits."""


@dataclass(frozen=True)
class Relocation:
    """Every `every` steps dead rows become copies of living ones, chosen by opacity; the layer also grows by `growth` up to `most`.

    Attributes:
        dead: opacity at or below which a Gaussian is dead.
        begin, end: fractions of the stage between which it acts.
    """

    most: int
    every: int = 100
    growth: float = 0.05
    dead: float = 0.005
    begin: float = 0.02
    end: float = 0.85

    def __call__(self, layer: Layer, statistics: GrowthStatistics, moment: Moment, random: np.random.Generator) -> Edit | None:
        """What to change after this step, or None."""
        acting = self.begin * moment.steps <= moment.step < self.end * moment.steps
        if not acting or moment.step == 0 or moment.step % self.every or len(layer) == 0:
            return None
        opacity = torch.sigmoid(layer.splats["opacity_logit"].detach()).double().cpu()
        alive = opacity > self.dead
        if not alive.any():
            return None
        extra = max(0, min(self.most, int(len(layer) * (1 + self.growth))) - len(layer))
        free = torch.nonzero(~alive)[:, 0]
        chance = torch.where(alive, opacity, 0).numpy()
        chosen = torch.from_numpy(random.choice(len(layer), len(free) + extra, p=chance / chance.sum()))
        if len(chosen) == 0:
            return None
        source = torch.cat([torch.arange(len(layer)), torch.zeros(extra, dtype=torch.int64)])
        target = torch.cat([free, torch.arange(len(layer), len(layer) + extra)])
        source[target] = chosen
        copies = torch.bincount(source, minlength=len(layer))[source].clamp_max(MOST_COPIES)
        faded, shrink = relocated(opacity[source], copies)
        device, dtype = layer.splats["means"].device, layer.splats["means"].dtype
        source, many = source.to(device), (copies > 1).to(device)
        logit = torch.log(faded / (1 - faded)).to(device, dtype)
        changes = {
            "opacity_logit": torch.where(many, logit, layer.splats["opacity_logit"].detach()[source]),
            "log_scale": layer.splats["log_scale"].detach()[source] + torch.where(many, shrink.log().to(device, dtype), 0.0)[:, None],
        }
        return Edit(source, many, changes)


def relocated(opacity: Tensor, copies: Tensor) -> tuple[Tensor, Tensor]:
    """Opacity of each copy and the factor on its standard deviations, for `opacity` (N,) shared by `copies` (N,) Gaussians (equation 9)."""
    faded = 1 - (1 - opacity).pow(1.0 / copies)
    faded = faded.clamp(1e-6, 1 - 1e-6)
    total = torch.zeros_like(opacity)
    largest = int(copies.max())
    for i in range(1, largest + 1):
        inner = torch.zeros_like(opacity)
        for k in range(i):
            inner += math.comb(i - 1, k) * (-1) ** k * faded.pow(k + 1) / math.sqrt(k + 1)
        total += torch.where(copies >= i, inner, 0)
    return faded, opacity / total.clamp_min(1e-12)
