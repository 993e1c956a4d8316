"""Courses: motion in closed form, a blend of shared rigid motions beside straight flights with a lifetime. What a page evaluates by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fourfold.geometry.interpolation import cubic_weights
from fourfold.geometry.rotations import rotation6d_to_matrix
from fourfold.scene.flights import Flights, layer_flights
from fourfold.scene.scene import Layer


@dataclass(frozen=True)
class Course:
    """Where the N Gaussians of a layer are at any time, and how much they are there; size and colour do not change.

    x(t) = R(t) (mean - pivot) + pivot + tau(t) + before min(t - center, 0) + after max(t - center, 0), rotation R(t) R_0; the opacity is
    multiplied by exp(-(max(|t - center| - radius, 0) / width)^2) while begin <= t < end, and by 0 else.

    Attributes:
        means: (N, 3) scene units; center, radius, width, begin, end: (N,) seconds; before, after: (N, 3) scene units per second.
        weights: (N, B), sum 1: R and tau are the blend of B shared ones, 6D rotations (spec shape_of_motion.md section 1) and translations blended
            first and made orthogonal then. None where nothing turns: R = 1, tau = 0.
        table: (K, B, 9) 6D rotation and translation of each at `knots` (K,) seconds, between them cubics (`geometry.interpolation`).
        pivot: (3,).
    """

    means: Tensor
    center: Tensor
    radius: Tensor
    width: Tensor
    begin: Tensor
    end: Tensor
    before: Tensor
    after: Tensor
    weights: Tensor | None = None
    table: Tensor | None = None
    knots: Tensor | None = None
    pivot: Tensor | None = None

    def __len__(self) -> int:
        return len(self.means)

    def select(self, rows: Tensor) -> Course:
        """The Gaussians `rows`."""
        own = ("means", "center", "radius", "width", "begin", "end", "before", "after")
        chosen = {name: getattr(self, name)[rows] for name in own}
        return replace(self, **chosen, weights=None if self.weights is None else self.weights[rows])

    def fading(self, times: Tensor) -> Tensor:
        """(N,) factor on the opacity, each Gaussian at its own of `times` (N,)."""
        beyond = ((times - self.center).abs() - self.radius).clamp_min(0)
        return torch.exp(-(beyond / self.width).square()) * ((self.begin <= times) & (times < self.end))

    def blended(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, 3) rotations and (N, 3) translations about the pivot, each Gaussian at its own of `times` (N,)."""
        if self.weights is None or self.table is None or self.knots is None:
            eye = torch.eye(3, dtype=self.means.dtype, device=self.means.device)
            return eye.expand(len(self), 3, 3), torch.zeros_like(self.means)
        values = torch.einsum("nbc,nb->nc", self.shared_motions(times), self.weights)
        return rotation6d_to_matrix(values[:, :6]), values[:, 6:]

    def shared_motions(self, times: Tensor) -> Tensor:
        """(N, B, 9) 6D rotation and translation of every shared motion at `times` (N,)."""
        if self.table is None or self.knots is None:
            raise ValueError("nothing is shared here")
        index, between = cubic_weights(self.knots, times)
        return torch.einsum("nq,nqbc->nbc", between.to(self.table.dtype), self.table[index])

    def places(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3) positions and (N, 3, 3) rotations R, each Gaussian at its own of `times` (N,)."""
        rotation, shift = self.blended(times)
        pivot = self.means.new_zeros(3) if self.pivot is None else self.pivot
        since = (times - self.center)[:, None]
        moved = (rotation @ (self.means - pivot)[..., None])[..., 0] + pivot + shift
        return moved + self.before * since.clamp_max(0) + self.after * since.clamp_min(0), rotation


def layer_course(layer: Layer) -> Course | None:
    """The course of a layer whose motion model has `course(layer)` or flies each Gaussian in one piece; None for every other."""
    told = getattr(layer.motion, "course", None)
    if told is not None:
        return told(layer)
    flown = layer_flights(layer)
    return None if flown is None or len(flown) != len(layer) else _of_flights(flown)


def _of_flights(f: Flights) -> Course:
    """exp(-(d / sigma)^2 / 2) has the width sqrt(2) sigma."""
    order = f.rows.argsort()
    f = f.select(order)
    return Course(f.means, f.moment, torch.zeros_like(f.moment), f.sigma * 2**0.5, f.begin, f.end, f.velocity, f.velocity)


def lived(layer: Layer, radius: Tensor, before: Tensor, after: Tensor) -> Course:
    """The course of Gaussians that are there within `radius` (N,) of their `time_center` and fade by `log_duration` beyond."""
    splats = layer.splats
    ever = torch.full_like(splats["time_center"], torch.inf)
    return Course(splats["means"], splats["time_center"], radius, splats["log_duration"].exp(), -ever, ever, before, after)
