"""4D regularisation: short-lived Gaussians must not become opaque walls (FreeTimeGS, spec sharptimegs_freetimegs.md A3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch

import torch
from torch import Tensor

from fourfold.losses.base import Step


@dataclass(frozen=True)
class LifetimeOpacity:
    """mean_i sigmoid(o_i) * stopgrad(temporal_i(t)), averaged over the batch.

    Without the stop-gradient durations would shrink until nothing is seen.
    """

    layers: str = "free"

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss over the layers that match; 0 without any."""
        slices = step.scene.slices()
        total = step.gaussians[0].means.new_zeros(())
        for layer in step.scene.layers:
            if not fnmatch(layer.name, self.layers) or not len(layer):
                continue
            base = torch.sigmoid(layer.splats["opacity_logit"])
            for gaussians in step.gaussians:
                temporal = gaussians.visibility
                weight = base if temporal is None else base * temporal[slices[layer.name]].detach()
                total = total + weight.mean() / len(step.gaussians)
        return total
