"""Small priors on the Gaussians themselves."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import torch
from torch import Tensor

from fourfold.kernels.devices import compiled, pointer
from fourfold.kernels.scored import scored
from fourfold.losses.base import Step


@dataclass(frozen=True)
class ScaleVariance:
    """Mean over Gaussians of the (unbiased) variance of their three log-scales: round unless the images say otherwise (section 8)."""

    layers: str = "*"

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss over the layers that match; 0 without any."""
        scales = [layer.splats["log_scale"] for layer in step.scene.layers if fnmatch(layer.name, self.layers) and len(layer)]
        if not scales:
            return step.gaussians[0].means.new_zeros(())
        return spread_of_three(scales)


def spread_of_three(rows: Sequence[Tensor]) -> Tensor:
    """Scalar mean over all rows of several (N, 3) of the unbiased variance of their three numbers. CPU float32 goes through the compiled kernel."""
    library = compiled(*rows)
    if library is None:
        return spread_of_three_reference(rows)
    share = ctypes.c_float(1 / (6 * sum(len(some) for some in rows)))

    def kernel(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> float:
        whole, value = 0.0, ctypes.c_double()
        for some, gradient in zip(inputs, gradients, strict=True):
            library.ff_spread_of_three(pointer(some), ctypes.c_int64(len(some)), share, ctypes.byref(value), pointer(gradient))
            whole += value.value
        return whole

    return scored(kernel, *rows)


def spread_of_three_reference(rows: Sequence[Tensor]) -> Tensor:
    """The plain twin of `spread_of_three`."""
    x, y, z = torch.cat(list(rows)).unbind(1)  # the variance of three numbers by their differences: reducing rows of three is slow
    return ((x - y).square() + (y - z).square() + (z - x).square()).mean() / 6


@dataclass(frozen=True)
class LittleOpacity:
    """Mean opacity of the layers that match: what is not needed fades away (spec calibration.md E, the free layer)."""

    layers: str = "free"

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss over the layers that match; 0 without any."""
        logits = [layer.splats["opacity_logit"] for layer in step.scene.layers if fnmatch(layer.name, self.layers) and len(layer)]
        return torch.sigmoid(torch.cat(logits)).mean() if logits else step.gaussians[0].means.new_zeros(())
