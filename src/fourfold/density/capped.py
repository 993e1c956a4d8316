"""Growth to a cap: split the most pulled few per cent now and then, remove what has faded, never reset.

Spec calibration.md, part B: on a short budget this is steadier than thresholds and opacity resets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from fourfold.density.base import Edit, GrowthStatistics, Moment
from fourfold.density.rows import grown
from fourfold.scene.scene import Layer


@dataclass(frozen=True)
class CappedGrowth:
    """Split the rows with the largest mean screen gradient until there are `most`, and remove faint ones.

    Attributes:
        most: largest number of Gaussians.
        share: of the rows that is split each time.
        every: steps between changes; begin, end: fractions of the stage between which it acts.
        cull_opacity: a fainter Gaussian is removed.
        absolute: go by the absolute gradient (AbsGS).
    """

    most: int
    share: float = 0.05
    every: int = 100
    begin: float = 0.05
    end: float = 0.7
    cull_opacity: float = 0.005
    absolute: bool = False

    def __call__(self, layer: Layer, statistics: GrowthStatistics, moment: Moment, random: np.random.Generator) -> Edit | None:
        """What to change after this step, or None."""
        acting = self.begin * moment.steps <= moment.step < self.end * moment.steps
        if not acting or moment.step == 0 or moment.step % self.every or len(layer) == 0:
            return None
        stay = torch.sigmoid(layer.splats["opacity_logit"].detach()) >= self.cull_opacity
        signal = statistics.absolute_gradient if self.absolute else statistics.gradient
        mean = torch.where(stay, signal / statistics.count.clamp_min(1), 0)
        room = self.most - int(stay.sum())
        wanted = max(0, min(room, int(self.share * int(stay.sum())), int((mean > 0).sum())))
        split = torch.zeros_like(stay)
        split[torch.topk(mean, wanted).indices] = True
        return grown(layer, stay, torch.zeros_like(stay), split & stay, random)
