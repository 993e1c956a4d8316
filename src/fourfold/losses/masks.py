"""Who covers which pixel: accumulated opacity and the share of moving Gaussians against masks."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from torch import Tensor

from fourfold.kernels.devices import compiled, pointer
from fourfold.kernels.scored import scored
from fourfold.losses.base import Step, mean_of
from fourfold.losses.robust import trimmed_l1, trimmed_mean

FOREGROUND = "foreground"
"""Name of the channel that blends the indicator of dynamic layers."""


@dataclass(frozen=True)
class OpaqueEverywhere:
    """Mean square of 1 - alpha: with a background layer every pixel is covered (spec shape_of_motion.md section 8, mask, first part)."""

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the batch."""
        return mean_of([square_from(render.alpha, 1.0) for render in step.renders], step.renders[0].alpha)


def square_from(values: Tensor, middle: float) -> Tensor:
    """Scalar mean square of `values` - `middle`. CPU float32 goes through the compiled kernel."""
    library = compiled(values)
    if library is None or values.numel() == 0:
        return (values - middle).square().mean()

    def kernel(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> float:
        value, count = ctypes.c_double(), ctypes.c_int64(values.numel())
        library.ff_square_from(pointer(inputs[0]), count, ctypes.c_float(middle), ctypes.byref(value), pointer(gradients[0]))
        return value.value

    return scored(kernel, values)


@dataclass(frozen=True)
class AlphaMask:
    """Mean square of alpha - mask, for scenes without a background layer (spec shape_of_motion.md section 8)."""

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the images with a mask; 0 without any."""
        losses = []
        for render, sample in zip(step.renders, step.samples, strict=True):
            if sample.mask is not None:
                losses.append(trimmed_mean((render.alpha - sample.mask).square(), sample.mask_valid))
        return mean_of(losses, step.renders[0].alpha)


@dataclass(frozen=True)
class ForegroundMask:
    """Trimmed L1 between the blended indicator of dynamic layers and the mask (spec shape_of_motion.md section 8, mask, second part).

    Attributes:
        quantile: the worst share above it is left out; mask borders are never exact.
        layers: pattern (fnmatch) of the dynamic layers that the masks are about; small movers of a residual layer may have none.
        square: the mean square of all pixels instead (4DGS360's supplement, A.3).
    """

    quantile: float = 0.98
    layers: str = "*"
    square: bool = False

    @property
    def channel(self) -> str:
        """Name of the rendered indicator."""
        return FOREGROUND if self.layers == "*" else f"{FOREGROUND}:{self.layers}"

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """The indicator of dynamic layers, (N, 1)."""
        if step.samples[item].mask is None:
            return {}
        rows = step.scene.dynamic_rows()
        for name, place in step.scene.slices().items():
            if not fnmatch(name, self.layers):
                rows[place] = 0
        return {self.channel: rows[:, None]}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the images with a mask; 0 without any."""
        losses = []
        for extra, sample in zip(step.extra, step.samples, strict=True):
            if sample.mask is not None:
                gap = extra[self.channel][..., 0] - sample.mask
                whole = trimmed_mean(gap.square(), sample.mask_valid) if self.square else trimmed_l1(gap, sample.mask_valid, self.quantile)
                losses.append(whole)
        return mean_of(losses, step.renders[0].alpha)
