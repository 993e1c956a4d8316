"""Depth up to scale and shift: MoSca's normalised L1 (spec mosca.md section 9)."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fourfold.kernels.devices import compiled, pointer
from fourfold.kernels.scored import scored
from fourfold.losses.base import Step, mean_of


@dataclass(frozen=True)
class NormalisedDepth:
    """Mean absolute difference of rendered and prior depth, each less its median and over its mean absolute deviation.

    Attributes:
        opaque: accumulated opacity below which a pixel says nothing.
    """

    opaque: float = 0.5

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the images with depth; 0 without any."""
        losses = []
        for sample, render in zip(step.samples, step.renders, strict=True):
            if sample.depth is None:
                continue
            usable = (sample.depth > 0) & (render.alpha.detach() > self.opaque)
            if sample.valid is not None:
                usable &= sample.valid > 0.5
            count = usable.sum()
            if count.device.type != "cpu":  # to ask whether any depth is known would wait for the GPU: an image without counts, as 0
                error = (normalised(render.depth, usable) - normalised(sample.depth, usable)).abs().sum() / count.clamp_min(1)
                losses.append(torch.where(count > 1, error, 0))
            elif int(count) > 1:
                losses.append(unlike_shapes(render.depth, sample.depth, usable))
        return mean_of(losses, step.renders[0].depth)


def unlike_shapes(depth: Tensor, prior: Tensor, usable: Tensor) -> Tensor:
    """Scalar mean absolute difference of both `normalised` over `usable` (H, W), of which there is at least one. CPU float32 goes through the
    compiled kernel."""
    library = compiled(depth, prior)
    if library is None:
        return (normalised(depth, usable) - normalised(prior, usable)).abs().sum() / usable.sum()
    known, counts = prior.contiguous(), usable.contiguous()

    def kernel(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> float:
        value = ctypes.c_double()
        arrays, size = map(pointer, (inputs[0], known, counts)), ctypes.c_int64(known.numel())
        if library.ff_normalised_depth(*arrays, size, ctypes.byref(value), pointer(gradients[0])):
            raise MemoryError(f"no memory for depths of shape {tuple(known.shape)}")
        return value.value

    return scored(kernel, depth)


def normalised(depth: Tensor, usable: Tensor) -> Tensor:
    """(H, W) less the median of `usable` (H, W), over the mean absolute deviation from it, 0 elsewhere; no gradient through the median."""
    centred = (depth - _median(depth.detach(), usable)) * usable
    count = usable.sum() if depth.device.type == "cpu" else usable.sum().clamp_min(1)
    return centred / (centred.abs().sum() / count).clamp_min(1e-9)


def _median(values: Tensor, usable: Tensor) -> Tensor:
    """The lower median of the `usable` ones; on a GPU without waiting for how many those are."""
    if values.device.type == "cpu":
        return values[usable].median()
    ordered = torch.where(usable, values, torch.inf).flatten().sort().values
    middle = ordered.gather(0, ((usable.sum() - 1).clamp_min(0) // 2)[None])[0]
    return torch.where(torch.isfinite(middle), middle, 0)
