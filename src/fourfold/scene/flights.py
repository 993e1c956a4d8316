"""Straight flights: what several motion models are made of, and what files of moving splats hold exactly."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from fourfold.scene.scene import Layer, Scene


@dataclass(frozen=True)
class Flights:
    """M pieces of straight motion that together make the Gaussians of a layer; a Gaussian has one or several, one after the other.

    Attributes:
        rows: (M,) int64 which Gaussian a piece belongs to; rotation, size and colour are its own and do not change.
        means: (M, 3) position at `moment`, scene units.
        velocity: (M, 3) scene units per second.
        moment: (M,) seconds; the opacity is multiplied by exp(-((t - moment) / sigma)^2 / 2).
        sigma: (M,) seconds; infinite where nothing fades.
        begin, end: (M,) seconds; the piece is there while begin <= t < end. Infinite where nothing limits it.
    """

    rows: Tensor
    means: Tensor
    velocity: Tensor
    moment: Tensor
    sigma: Tensor
    begin: Tensor
    end: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, index: Tensor) -> Flights:
        """The pieces at `index` (a boolean (M,) mask or integer indices)."""
        return Flights(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    @staticmethod
    def concatenate(parts: list[Flights]) -> Flights:
        """All pieces of `parts` in order."""
        return Flights(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Flights)})


def standing(means: Tensor) -> Flights:
    """One piece for each of `means` (N, 3) that never moves and never fades."""
    none, ever = torch.zeros_like(means[:, 0]), torch.full_like(means[:, 0], torch.inf)
    return Flights(torch.arange(len(means), device=means.device), means, torch.zeros_like(means), none, ever, -ever, ever)


def layer_flights(layer: Layer) -> Flights | None:
    """The pieces of a layer whose motion model has `flights(layer)`, None for a model that bends, turns or changes."""
    told = getattr(layer.motion, "flights", None)
    return None if told is None else told(layer)


def scene_flights(scene: Scene) -> Flights | None:
    """The pieces of all layers, `rows` counted as in `scene.at`; None where one layer has none."""
    parts: list[Flights] = []
    for layer, place in zip(scene.layers, scene.slices().values(), strict=True):
        flown = layer_flights(layer)
        if flown is None:
            return None
        parts.append(replace(flown, rows=flown.rows + place.start))
    return Flights.concatenate(parts)


def stands(layer: Layer) -> bool:
    """Whether nothing in the layer ever moves, comes or goes, as its motion model tells it."""
    flown = layer_flights(layer)
    return flown is not None and not bool(
        flown.velocity.any() or flown.sigma.isfinite().any() or flown.begin.isfinite().any() or flown.end.isfinite().any()
    )
