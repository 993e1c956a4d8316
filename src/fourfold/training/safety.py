"""Bounds that keep a Gaussian meaningful whatever the gradients say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from fourfold.recipes.recipe import Rate
from fourfold.scene.scene import Scene
from fourfold.training.schedule import rate_of
from fourfold.training.state import parameters


@dataclass(frozen=True)
class Bounds:
    """Limits of trained parameters.

    Attributes:
        smallest, largest: of a standard deviation, in extents.
        opacity_logit, color_logit: largest absolute values; sigmoid(8) = 0.9997 leaves a gradient to come back by.
        renormalize_every: steps after which quaternions are brought back to unit length.
        shortest, longest: standard deviations of lifetimes, in spacings of the training images and in lengths of the recording.
    """

    smallest: float = 1e-5
    largest: float = 10.0
    opacity_logit: float = 12.0
    color_logit: float = 8.0
    renormalize_every: int = 100
    shortest: float = 1.0
    longest: float = 2.0


@torch.no_grad()
def keep_sane(scene: Scene, rates: Mapping[str, Rate], step: int, extent: float, frames: int, bounds: Bounds = Bounds()) -> None:
    """Clamp the trained parameters of `scene` in place; tensors without a rate are not touched.

    Args:
        frames: how many training images there are: no lifetime may be much shorter than their spacing, or each image gets its own cloud.
    """
    low, high = math.log(bounds.smallest * extent), math.log(bounds.largest * extent)
    seconds = max(scene.time_range[1] - scene.time_range[0], 1e-9)
    limits = {
        "log_scale": (low, high),
        "opacity_logit": (-bounds.opacity_logit, bounds.opacity_logit),
        "color_logit": (-bounds.color_logit, bounds.color_logit),
        "log_duration": (math.log(bounds.shortest * seconds / frames), math.log(bounds.longest * seconds)),
    }
    for layer in scene.layers:
        for key, group, name in parameters(layer):
            if group is not layer.splats or rate_of(rates, key) is None:
                continue
            if name in limits:
                group[name].data.clamp_(*limits[name])
            elif name == "quat_wxyz" and (step + 1) % bounds.renormalize_every == 0:
                group[name].data.div_(group[name].norm(dim=1, keepdim=True).clamp_min(1e-8))
