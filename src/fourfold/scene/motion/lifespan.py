"""Linear motion slowed by a long life, and a lifespan with a flat top: SharpTimeGS (spec sharptimegs_freetimegs.md B1, B2).

x(t) = mean + velocity / f (t - time_center),  f = 1 + max(1, ((sigma + r) / unit)^2)
opacity is multiplied by 1 where |t - time_center| <= r, by exp(-((|t - time_center| - r) / sigma)^2) elsewhere (no 1/2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.courses import Course, lived
from fourfold.scene.flights import Flights
from fourfold.scene.scene import Layer

SlowedBy = Literal["seed", "unit", "smooth", "nothing"]


@dataclass(frozen=True)
class Lifespan:
    """Each Gaussian is fully there within `r` of its own moment, fades beyond it, and moves the less the longer it lives.

    Reads the splats `velocity` (N, 3) scene units per second, `time_center` (N,) seconds, `log_duration` (N,) natural logarithm of sigma
    in seconds and `log_radius` (N,) natural logarithm of r in seconds. `means` is the position at `time_center`.

    Attributes:
        slowed: "seed" f = 1 + max(1, q), "unit" max(1, q) (short lives are not slowed at all), "smooth" 1 + q, "nothing" 1;
            q = ((sigma + r) / unit)^2.
        unit: seconds. q has a unit, so the paper's formula needs one; with times scaled to [0, 1] it would do nothing.
        flat: False takes r as 0: the ablation without lifespan.
    """

    kind: ClassVar[str] = "lifespan"
    slowed: SlowedBy = "seed"
    unit: float = 1.0
    flat: bool = True

    def at(self, layer: Layer, times: Tensor) -> list[Gaussians]:
        """Gaussians at each of `times` (K,), seconds."""
        splats, still = layer.splats, layer.canonical()
        since = times[:, None] - splats["time_center"]
        sigma, radius = splats["log_duration"].exp(), self.radius(layer)
        visibility = lifespan_visibility(since, sigma, radius)
        moved = splats["velocity"] / motion_divisor(sigma, radius, self.slowed, self.unit)[:, None]
        means = splats["means"] + moved * since[..., None]
        return [replace(still, means=means[k], visibility=visibility[k]) for k in range(len(times))]

    def flights(self, layer: Layer) -> Flights:
        """Three pieces per Gaussian: it comes, is there, and goes. exp(-(d / sigma)^2) is a Gaussian of standard deviation sigma / sqrt(2)."""
        splats = layer.splats
        sigma, radius, center = splats["log_duration"].exp(), self.radius(layer), splats["time_center"]
        velocity = splats["velocity"] / motion_divisor(sigma, radius, self.slowed, self.unit)[:, None]
        rows, ever = torch.arange(len(layer), device=sigma.device), torch.full_like(sigma, torch.inf)

        def piece(offset: Tensor, fade: Tensor, begin: Tensor, end: Tensor) -> Flights:
            return Flights(rows, splats["means"] + velocity * offset[:, None], velocity, center + offset, fade, begin, end)

        first, last, fade = center - radius, center + radius, sigma / 2**0.5
        parts = [piece(-radius, fade, -ever, first), piece(torch.zeros_like(radius), ever, first, last), piece(radius, fade, last, ever)]
        return Flights.concatenate(parts)

    def course(self, layer: Layer) -> Course:
        """The same in one piece."""
        sigma, radius = layer.splats["log_duration"].exp(), self.radius(layer)
        velocity = layer.splats["velocity"] / motion_divisor(sigma, radius, self.slowed, self.unit)[:, None]
        return lived(layer, radius, velocity, velocity)

    def radius(self, layer: Layer) -> Tensor:
        """(N,) half the time each Gaussian is fully there, seconds."""
        log_radius = layer.splats["log_radius"]
        return log_radius.exp() if self.flat else torch.zeros_like(log_radius)


def lifespan_visibility(since: Tensor, sigma: Tensor, radius: Tensor) -> Tensor:
    """Factor on the opacity `since` seconds (..., N) after the Gaussians' own moments: 1 on the flat top, then a Gaussian without 1/2."""
    beyond = (since.abs() - radius).clamp_min(0)
    return torch.exp(-(beyond / sigma).square())


def motion_divisor(sigma: Tensor, radius: Tensor, slowed: SlowedBy = "seed", unit: float = 1.0) -> Tensor:
    """(N,) f(sigma, r), by which the velocity is divided; see `Lifespan`."""
    square = ((sigma + radius) / unit).square()
    if slowed == "seed":
        return 1 + square.clamp_min(1)
    if slowed == "unit":
        return square.clamp_min(1)
    return 1 + square if slowed == "smooth" else torch.ones_like(square)
