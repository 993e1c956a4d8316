"""Starts of a travelling camera from nothing: as turned, with distances that differ at random, at several focal lengths and with less and more
patience for what does not fit yet. Each way ends wrong now and then, and one cheap adjustment tells which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fourfold.counting import counted
from fourfold.priors.cameras.bundle_system import Sightings, Solved
from fourfold.priors.cameras.track_bundle import BundleNumbers, Freedom, bundle
from fourfold.priors.cameras.turned_start import turned_start
from fourfold.threads import in_threads


@dataclass(frozen=True)
class TravelNumbers:
    """Numbers of the starts.

    Attributes:
        leniences: how many times the scale of the residuals begins too large. With little, the surface that fills most of the image may be
            taken for all; with much, what moves pulls along.
        steps: of each adjustment.
        roughness: standard deviation of the logarithm of the inverse distances at the start: some must differ from others.
        seed: of those.
    """

    leniences: tuple[float, ...] = (4.0, 30.0)
    steps: BundleNumbers = field(default_factory=lambda: BundleNumbers(iterations=50, tolerance=2e-4))
    roughness: float = 0.3
    seed: int = 0


def travelled_starts(seen: Sightings, focals: Sequence[float], freedom: Freedom, numbers: TravelNumbers = TravelNumbers()) -> list[Solved]:
    """One roughly adjusted solution for each focal length (pixels) and lenience."""
    inverse = np.exp(numbers.roughness * np.random.default_rng(numbers.seed).normal(size=seen.tracks))

    def adjusted(focal: float, lenience: float) -> Solved:
        start = replace(turned_start(seen, np.full(len(seen.centre), focal)), inverse=inverse)
        return bundle(seen, start, freedom, replace(numbers.steps, lenient=lenience)).solved

    ways = [(focal, lenience) for focal in focals for lenience in numbers.leniences]
    return list(counted(in_threads(adjusted, *zip(*ways, strict=True)), "starts as travelled", len(ways)))
