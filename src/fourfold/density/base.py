"""What density control is: a policy that adds and removes rows of a layer while training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fourfold.scene.scene import Layer


@dataclass
class GrowthStatistics:
    """Per-Gaussian sums of one layer since the last change of its rows.

    Attributes:
        gradient: (N,) sum of the norms of the screen gradient, in units of half the image size (as gsplat scales it).
        absolute_gradient: (N,) the same of the absolute gradient (AbsGS).
        count: (N,) number of images in which the Gaussian was drawn.
        radius: (N,) largest screen radius as a fraction of the larger image side.
        error: (N,) blending-weighted mean rendering error, or zeros where no policy asked for it.
    """

    gradient: Tensor
    absolute_gradient: Tensor
    count: Tensor
    radius: Tensor
    error: Tensor

    @staticmethod
    def zeros(count: int, device: torch.device) -> GrowthStatistics:
        """Fresh statistics for `count` Gaussians."""
        return GrowthStatistics(*(torch.zeros(count, device=device) for _ in range(5)))


@dataclass
class Edit:
    """New rows of a layer. Row i of the new layer is old row `source[i]` with the values of `changes` written over.

    Attributes:
        source: (M,) int64 rows of the old layer, M the new number of Gaussians.
        fresh: (M,) bool; optimiser moments of these rows start at zero, the others are carried over.
        changes: splat name -> (M, ...) new values for all rows.
        reset: splat names whose optimiser moments are zeroed for all rows.
        shared, fixed: new or changed tensors of the layer that are not per Gaussian; optimiser moments of `shared` ones start anew.
    """

    source: Tensor
    fresh: Tensor
    changes: dict[str, Tensor]
    reset: tuple[str, ...] = ()
    shared: dict[str, Tensor] = field(default_factory=dict)
    fixed: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Moment:
    """When density control is asked: `step` of `steps` in this stage, the scene's `extent`, and how many `frames` are trained on."""

    step: int
    steps: int
    extent: float
    frames: int


class DensityControl(Protocol):
    """A frozen dataclass of numbers with one function."""

    def __call__(self, layer: Layer, statistics: GrowthStatistics, moment: Moment, random: np.random.Generator) -> Edit | None:
        """What to change after this step, or None. Must depend on its arguments alone, so that training resumes exactly."""
        ...


DensityFactory = Callable[[], DensityControl]
