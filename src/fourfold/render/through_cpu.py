"""Drawing on the CPU for a device that has no rasterizer of ours, as Apple's GPUs: Gaussians go there and images come back.

All else of a training stays on the device. `torch.mps.compile_shader` could hold the tiles' loops in Metal one day; nobody here has the hardware to
write that against.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.render.api import RasterOptions, Render, ScreenStatistics
from fourfold.render.cpu import rasterize_cpu

CPU = torch.device("cpu")


def rasterize_through_cpu(gaussians: Gaussians, camera: Camera, channels: Tensor | None, background: Tensor | None, options: RasterOptions) -> Render:
    """`rasterize_cpu` for tensors of any device, differentiable as it is; images and screen statistics are on the device of the Gaussians.

    Raises:
        FourfoldError: shapes do not match, or no kernel is installed.
    """
    device = gaussians.means.device
    here = gaussians.to(CPU)
    here = replace(here, means=here.means.view_as(here.means))  # a tensor of this call alone, also where nothing had to move
    drawn = rasterize_cpu(here, camera.to(CPU), _put(channels, CPU), _put(background, CPU), options)
    render = Render(
        drawn.color.to(device),
        drawn.alpha.to(device),
        drawn.depth.to(device),
        _put(drawn.channels, device),
        top=_put(drawn.top, device),
        screen=ScreenStatistics(radius=drawn.screen.radius.to(device)),
    )

    def tell(_: Tensor) -> None:  # the kernel's backward pass has filled them in when the gradient of the means is known
        render.screen.gradient = _put(drawn.screen.gradient, device)
        render.screen.absolute_gradient = _put(drawn.screen.absolute_gradient, device)

    if here.means.requires_grad:
        here.means.register_hook(tell)
    return render


def _put(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    return None if tensor is None else tensor.to(device)
