"""Free linear motion with a lifetime: spec sharptimegs_freetimegs.md (FreeTimeGS). Also the layer for small movers.

x(t) = mean + velocity (t - time_center); opacity is multiplied by exp(-((t - time_center) / duration)^2 / 2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.flights import Flights
from fourfold.scene.scene import Layer


@dataclass(frozen=True)
class Linear:
    """Each Gaussian flies straight and fades in and out around its own moment.

    Reads the splats `velocity` (N, 3) scene units per second, `time_center` (N,) seconds and `log_duration` (N,) natural logarithm of
    the standard deviation in seconds. `means` is the position at `time_center`.
    """

    kind: ClassVar[str] = "linear"

    def at(self, layer: Layer, times: Tensor) -> list[Gaussians]:
        """Gaussians at each of `times` (K,), seconds."""
        splats, still = layer.splats, layer.canonical()
        since = times[:, None] - splats["time_center"]
        visibility = torch.exp(-0.5 * (since * torch.exp(-splats["log_duration"])).square())
        means = self.means_at(layer, times)
        return [replace(still, means=means[k], visibility=visibility[k]) for k in range(len(times))]

    def means_at(self, layer: Layer, times: Tensor) -> Tensor:
        """Positions (K, N, 3) alone."""
        splats = layer.splats
        return splats["means"] + splats["velocity"] * (times[:, None] - splats["time_center"])[..., None]

    def flights(self, layer: Layer) -> Flights:
        """One piece per Gaussian, fading about its own moment."""
        s = layer.splats
        rows, ever = torch.arange(len(layer), device=s["means"].device), torch.full_like(s["time_center"], torch.inf)
        return Flights(rows, s["means"], s["velocity"], s["time_center"], s["log_duration"].exp(), -ever, ever)
