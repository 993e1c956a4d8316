"""Where the rendering is wrong, told to the Gaussians that drew it: for density control, not a loss to descend.

E_i = sum_p w_ip e_p / sum_p w_ip with the blending weights w and the mean absolute colour error e (spec sharptimegs_freetimegs.md B3).
Both sums are gradients with respect to an extra channel that is zero everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch

import torch
from torch import Tensor

from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.losses.base import Step
from fourfold.losses.camera_colors import camera_colors
from fourfold.render.api import rasterize

SPLAT = "watched_error"


@dataclass(frozen=True)
class WatchError:
    """Every `every` steps adds to the splat "watched_error" (N, 2) of the layers that match: error times weight, and weight.

    Attributes:
        reduce: the sums are taken on images this many times smaller.
    """

    layers: str = "free"
    every: int = 10
    reduce: int = 2

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """Always 0."""
        zero = step.gaussians[0].means.new_zeros(())
        if step.index % self.every:
            return zero
        slices, colors = step.scene.slices(), camera_colors(step.scene)
        for gaussians, render, sample in zip(step.gaussians, step.renders, step.samples, strict=True):
            shown = render.color.detach()
            if colors is not None:
                shown = shown * colors[0][sample.view].detach() + colors[1][sample.view].detach()
            wrong = (shown - sample.image).abs().mean(2)
            gathered = step.summed(blamed(gaussians.detach(), sample.camera.scaled(1 / self.reduce), wrong))
            for layer in step.scene.layers:
                if fnmatch(layer.name, self.layers) and len(layer):
                    before = layer.splats.get(SPLAT)
                    here = gathered[slices[layer.name]]
                    layer.splats[SPLAT] = here if before is None else before.detach() + here
        return zero


def blamed(gaussians: Gaussians, camera: Camera, wrong: Tensor) -> Tensor:
    """(N, 2) sums over pixels of blending weight times `wrong` (H, W), which is resized to `camera`, and of the weight itself."""
    small = torch.nn.functional.interpolate(wrong[None, None], (camera.height, camera.width), mode="area")[0, 0]
    with torch.enable_grad():
        probe = torch.zeros(len(gaussians), 2, dtype=wrong.dtype, device=wrong.device, requires_grad=True)
        seen = rasterize(gaussians, camera, channels=probe).channels
        if seen is None or not seen.requires_grad:
            return torch.zeros_like(probe)
        (gradient,) = torch.autograd.grad(seen, probe, torch.stack([small, torch.ones_like(small)], -1))
    return gradient
