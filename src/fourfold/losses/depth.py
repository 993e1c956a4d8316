"""Rendered depth against a depth prior, as disparities in units of the scene's extent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fourfold.losses.base import Sample, Step
from fourfold.losses.robust import trimmed_mean

_EPSILON = 1e-5


def disparity(depth: Tensor, extent: float) -> Tensor:
    """extent / depth, without unit; Shape of Motion's 1 / (d + 1e-5) in a scene scaled to extent 1 (section 8)."""
    return 1.0 / (depth / extent + _EPSILON)


def _weight(sample: Sample, prior: Tensor, alpha: Tensor, foreground_only: bool) -> Tensor:
    """(H, W) where `prior` depth and rendering both have a depth, weighted by the prior's confidence."""
    weight = ((prior > 0) & (alpha.detach() > 0.1)).to(alpha.dtype)
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
    """

    quantile: float = 0.98
    foreground_only: bool = False

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the images with depth; 0 without any."""
        losses = []
        for render, sample in zip(step.renders, step.samples, strict=True):
            if sample.depth is not None:
                weight = _weight(sample, sample.depth, render.alpha, self.foreground_only)
                error = torch.where(weight > 0, (_safe(render.depth, weight, step) - _safe(sample.depth, weight, step)).abs(), 0)
                losses.append(trimmed_mean(error, weight, self.quantile))
        return torch.stack(losses).mean() if losses else step.renders[0].depth.new_zeros(())


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
        for render, sample in zip(step.renders, step.samples, strict=True):
            if sample.depth is None:
                continue
            weight = _weight(sample, sample.depth, render.alpha, False)
            rendered, prior = _safe(render.depth, weight, step), _safe(sample.depth, weight, step)
            for axis in (0, 1):
                both = weight[1:] * weight[:-1] if axis == 0 else weight[:, 1:] * weight[:, :-1]
                error = (rendered.diff(dim=axis) - prior.diff(dim=axis)).abs()
                losses.append(2 * trimmed_mean(torch.where(both > 0, error, 0), both, self.quantile))
        return torch.stack(losses).mean() if losses else step.renders[0].depth.new_zeros(())


def _safe(depth: Tensor, weight: Tensor, step: Step) -> Tensor:
    """Disparity where `weight` is positive, 1 elsewhere, so that no gradient comes from unknown pixels."""
    return disparity(torch.where(weight > 0, depth, step.extent), step.extent)
