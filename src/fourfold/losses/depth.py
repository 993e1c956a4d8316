"""Rendered depth against a depth prior, as disparities in units of the scene's extent."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fourfold.kernels.devices import compiled, pointer
from fourfold.losses.base import Sample, Step, mean_of
from fourfold.losses.robust import trimmed_l1, trimmed_mean, trimmed_slopes

EPSILON = 1e-5
_OPAQUE = 0.1  # accumulated opacity below which a pixel says nothing


def disparity(depth: Tensor, extent: float) -> Tensor:
    """extent / depth, without unit; Shape of Motion's 1 / (d + 1e-5) in a scene scaled to extent 1 (section 8)."""
    return 1.0 / (depth / extent + EPSILON)


def _weight(sample: Sample, prior: Tensor, alpha: Tensor, foreground_only: bool) -> Tensor:
    """(H, W) where `prior` depth and rendering both have a depth, weighted by the prior's confidence."""
    weight = ((prior > 0) & (alpha.detach() > _OPAQUE)).to(alpha.dtype)
    if sample.depth_confidence is not None:
        weight = weight * sample.depth_confidence
    if sample.valid is not None:
        weight = weight * sample.valid
    return weight * sample.mask if foreground_only and sample.mask is not None else weight


@dataclass(frozen=True)
class DepthDisparity:
    """Trimmed mean of |disparity - prior disparity| (spec shape_of_motion.md section 8, depth reg).

    Attributes:
        quantile: the worst share above it is left out.
        foreground_only: look at moving objects only, for scenes without a background layer.
        square: the mean square of all pixels instead (4DGS360's supplement, A.3).
    """

    quantile: float = 0.98
    foreground_only: bool = False
    square: bool = False

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the images with depth; 0 without any."""
        losses = []
        for item, sample in enumerate(step.samples):
            if sample.depth is not None:
                residual, weight = _residual(step, item, sample.depth, self.foreground_only)
                losses.append(trimmed_mean(residual.square(), weight) if self.square else trimmed_l1(residual, weight, self.quantile))
        return mean_of(losses, step.renders[0].depth)


@dataclass(frozen=True)
class DepthGradient:
    """Trimmed L1 of the forward differences of disparity in x plus the same in y, both pixels known (section 8, depth grad).

    Attributes:
        quantile: the worst share above it is left out.
    """

    quantile: float = 0.95

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the images with depth; 0 without any."""
        losses = []
        for item, sample in enumerate(step.samples):
            if sample.depth is not None:
                residual, weight = _residual(step, item, sample.depth, False)
                losses.append(trimmed_slopes(residual, weight, self.quantile))
        return mean_of(losses, step.renders[0].depth)


def _residual(step: Step, item: int, prior: Tensor, foreground_only: bool) -> tuple[Tensor, Tensor]:
    """(H, W) rendered minus prior disparity, and its weight; computed once for all losses that ask."""
    key = f"disparity:{item}:{foreground_only}"
    if key not in step.memo:
        render, sample = step.renders[item], step.samples[item]
        factors = (sample.depth_confidence, sample.valid, sample.mask if foreground_only else None)
        library = compiled(render.depth, render.alpha, prior, *factors)
        if library is not None:
            step.memo[key] = _Residual.apply(library, (prior, render.alpha.detach(), *factors), step.extent, render.depth)
        else:
            weight = _weight(sample, prior, render.alpha, foreground_only)
            step.memo[key] = _safe(render.depth, weight, step) - _safe(prior, weight, step), weight
    return step.memo[key]


class _Residual(torch.autograd.Function):
    """Residual and weight in one pass of the compiled kernel over the image."""

    @staticmethod
    def forward(ctx: Any, library: ctypes.CDLL, others: tuple[Tensor | None, ...], extent: float, depth: Tensor) -> tuple[Tensor, Tensor]:
        depth = depth.contiguous()
        prior, alpha, *factors = (None if t is None else t.contiguous() for t in others)
        residual, weight, slope = (torch.empty_like(depth) for _ in range(3))
        weights = (ctypes.c_void_p * 3)(*(None if t is None else t.data_ptr() for t in factors))
        numbers = ctypes.c_int64(depth.numel()), *map(ctypes.c_float, (extent, EPSILON, _OPAQUE))
        library.ff_disparity(*map(pointer, (depth, prior, alpha)), weights, *numbers, *map(pointer, (residual, weight, slope)))
        ctx.save_for_backward(slope)
        ctx.mark_non_differentiable(weight)
        return residual, weight

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, ctx.saved_tensors[0] * grad_outputs[0]


def _safe(depth: Tensor, weight: Tensor, step: Step) -> Tensor:
    """Disparity where `weight` is positive, 1 elsewhere, so that no gradient comes from unknown pixels."""
    return disparity(torch.where(weight > 0, depth, step.extent), step.extent)
