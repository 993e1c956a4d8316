"""What stands still."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.flights import Flights, standing
from fourfold.scene.scene import Layer


@dataclass(frozen=True)
class Static:
    """The same Gaussians at every time."""

    kind: ClassVar[str] = "static"

    def at(self, layer: Layer, times: Tensor) -> list[Gaussians]:
        """The layer's own Gaussians, once per time of `times` (K,)."""
        return [layer.canonical()] * len(times)

    def means_at(self, layer: Layer, times: Tensor) -> Tensor:
        """The same positions for each of `times` (K,): (K, N, 3), not copied."""
        means = layer.splats["means"]
        return means.expand(len(times), *means.shape)

    def flights(self, layer: Layer) -> Flights:
        """One piece per Gaussian, for ever."""
        return standing(layer.splats["means"])
