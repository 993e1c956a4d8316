"""Gaussians that stand still and cannot grow beyond a size: MoSca's sigmoid activation of scales (spec mosca.md section 8)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import softplus

from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.flights import Flights, standing
from fourfold.scene.scene import Layer


@dataclass(frozen=True)
class BoundedStatic:
    """The same Gaussians at all times, with standard deviations below `largest`, scene units; 0 is no bound."""

    kind: ClassVar[str] = "bounded_static"
    largest: float = 0.0

    def at(self, layer: Layer, times: Tensor) -> list[Gaussians]:
        """The layer's own Gaussians, once for each of `times` (Q,)."""
        still = layer.canonical()
        return [replace(still, log_scale=bounded_log_scale(still.log_scale, self.largest))] * len(times)

    def means_at(self, layer: Layer, times: Tensor) -> Tensor:
        """The same positions for each of `times` (K,): (K, N, 3), not copied."""
        means = layer.splats["means"]
        return means.expand(len(times), *means.shape)

    def flights(self, layer: Layer) -> Flights:
        """One piece per Gaussian, for ever."""
        return standing(layer.splats["means"])


def bounded_log_scale(log_scale: Tensor, largest: float) -> Tensor:
    """log(largest sigmoid(x)) with x = log_scale - log(largest): equal to `log_scale` where that is small, never above log(largest)."""
    if largest <= 0:
        return log_scale
    bound = math.log(largest)
    return bound - softplus(bound - log_scale)
