"""Straight flights within windows of time, each with its own fading: what a file of moving splats holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.flights import Flights
from fourfold.scene.scene import Layer

EVER = 1e9  # seconds that stand for for ever: scene files hold finite numbers only


@dataclass(frozen=True)
class Flying:
    """x(t) = mean + velocity (t - time_center) while begin <= t < end; opacity times exp(-((t - time_center) / duration)^2 / 2).

    Reads the splats `velocity` (N, 3) scene units per second, `time_center` (N,), `begin` (N,) and `end` (N,) seconds, and `log_duration`
    (N,) natural logarithm of the standard deviation in seconds. What never fades or never ends has `EVER` there.
    """

    kind: ClassVar[str] = "flights"

    def at(self, layer: Layer, times: Tensor) -> list[Gaussians]:
        """Gaussians at each of `times` (K,), seconds."""
        splats, still = layer.splats, layer.canonical()
        since = times[:, None] - splats["time_center"]
        there = (splats["begin"] <= times[:, None]) & (times[:, None] < splats["end"])
        visibility = torch.exp(-0.5 * (since * torch.exp(-splats["log_duration"])).square()) * there
        means = self.means_at(layer, times)
        return [replace(still, means=means[k], visibility=visibility[k]) for k in range(len(times))]

    def means_at(self, layer: Layer, times: Tensor) -> Tensor:
        """Positions (K, N, 3) alone."""
        splats = layer.splats
        return splats["means"] + splats["velocity"] * (times[:, None] - splats["time_center"])[..., None]

    def flights(self, layer: Layer) -> Flights:
        """One piece per Gaussian."""
        s = layer.splats
        rows = torch.arange(len(layer), device=s["means"].device)
        return Flights(rows, s["means"], s["velocity"], s["time_center"], s["log_duration"].exp(), s["begin"], s["end"])
