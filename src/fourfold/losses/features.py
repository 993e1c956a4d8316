"""Rendered features against the features of the images: spec monofusion.md sections 6 and 7."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from fourfold.losses.base import Sample, Step, mean_of
from fourfold.scene.scene import Layer

FEATURES = "features"
"""Name of the channels, and (singular) of the splats they come from."""


@dataclass(frozen=True)
class FeatureDistance:
    """Mean difference of the blended splats `feature` (N, C) and the image's features, on the grid of the latter.

    Attributes:
        form: "square" is the released code's mean square error, "absolute" the paper's equation 10.
        share: factor on the square (0.8 in the released code).
        every: steps between two in which features are rendered; they cost more than the colours.
    """

    form: Literal["square", "absolute"] = "square"
    share: float = 0.8
    every: int = 1

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """The features of all Gaussians, (N, C), zero for layers without any; none in steps between."""
        features = step.samples[item].features
        if features is None or step.index % self.every or not any("feature" in layer.splats for layer in step.scene.layers):
            return {}
        return {FEATURES: torch.cat([_of_layer(layer, features.shape[-1]) for layer in step.scene.layers])}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the images that were rendered with features; 0 without any."""
        losses = []
        for extra, sample in zip(step.extra, step.samples, strict=True):
            if FEATURES in extra and sample.features is not None:
                gap = on_grid(extra[FEATURES], sample) - sample.features
                losses.append(self.share * gap.square().mean() if self.form == "square" else gap.abs().mean())
        return mean_of(losses, step.gaussians[0].means)


def on_grid(rendered: Tensor, sample: Sample) -> Tensor:
    """(h, w, C) mean of `rendered` (H, W, C) over the cells of the sample's features."""
    height, width = sample.features.shape[:2]  # type: ignore[union-attr]
    if rendered.shape[0] % height == 0 and rendered.shape[1] % width == 0:
        tall, wide = rendered.shape[0] // height, rendered.shape[1] // width
        return rendered.view(height, tall, width, wide, -1).mean(dim=(1, 3))
    return adaptive_avg_pool2d(rendered.permute(2, 0, 1)[None], (height, width))[0].permute(1, 2, 0)


def _of_layer(layer: Layer, channels: int) -> Tensor:
    feature = layer.splats.get("feature")
    return layer.splats["means"].new_zeros(len(layer), channels) if feature is None else feature
