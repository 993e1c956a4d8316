"""Annealed smoothing of time: Deformable 3D Gaussians (spec baselines.md 1).

While training, the moment that the network is told is off by a random amount that shrinks to nothing, one draw per step, so that
the motion between recorded moments becomes smooth. The draw lives in the layer's fixed `time_shift`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from fourfold.density.base import DensityControl, Edit, GrowthStatistics, Moment
from fourfold.scene.scene import Layer


@dataclass(frozen=True)
class AnnealedTime:
    """Another density control, and after each step a new `time_shift`.

    Attributes:
        inner: what decides about rows, or None.
        start, until: standard deviation at the beginning in spacings of the recorded moments, and the fraction of the stage at
            which it has become zero; log-linear down to 1e-6 in between. The paper: 0.1 spacings of images, half of 40 thousand steps.
    """

    inner: DensityControl | None = None
    start: float = 0.1
    until: float = 0.5

    def __call__(self, layer: Layer, statistics: GrowthStatistics, moment: Moment, random: np.random.Generator) -> Edit | None:
        """What `inner` wants to change after this step, or None."""
        share = (moment.step + 1) / max(moment.steps * self.until, 1)
        draw = float(random.standard_normal())
        if "time_shift" in layer.fixed:
            size = 0.0 if share >= 1 else self.start * 10.0 ** (-5 * share)
            spacing = float(layer.fixed["span"][1]) / max(moment.frames - 1, 1)
            layer.fixed["time_shift"] = torch.full_like(layer.fixed["time_shift"], draw * size * spacing)
        return None if self.inner is None else self.inner(layer, statistics, moment, random)
