"""The depth of a view while its movers are put into it one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fourfold.priors.movers.near_movers import near_depths


@dataclass
class StampedDepth:
    """`depth` and `confidence` (T, H, W) float32 of a view, of the static world at first; `owned` (T, H, W) are the pixels that a mover has."""

    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]
    owned: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.owned = np.zeros(self.depth.shape, bool)

    def stamp(self, times: Sequence[int], depth: NDArray[np.floating], confidence: float, behind: NDArray[np.floating] | None) -> None:
        """Put in a mover of `depth` (F, H, W), 0 where it is not, at the F moments `times`: never behind what it hides, where `behind` (T, H, W)
        tells that."""
        whole = np.zeros_like(self.depth)
        whole[times] = depth
        shown = whole > 0
        self.depth = np.where(shown, whole if behind is None else np.minimum(whole, behind), self.depth)
        self.confidence = np.where(shown, confidence, self.confidence)
        self.owned |= shown

    def draw_near(self, times: Sequence[int], moving: NDArray[np.bool_], least: float) -> None:
        """Give what moves (F, H, W) and no mover has the depth of the movers around it in the image and in time, where their share of what is around
        is above `least`: a head for whose images no model holds stays on its neck, not on the wall behind it."""
        near = near_depths([(self.depth[time], self.owned[time].astype(np.float32)) for time in times])
        for (mean, much), time, shown in zip(near, times, moving, strict=True):
            left = shown & ~self.owned[time] & (much > least)
            self.depth[time][left] = mean[left]
