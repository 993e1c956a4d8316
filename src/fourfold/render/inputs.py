"""Checks at the rasterizer's border, the same for every backend."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.render.api import RasterOptions

MAX_CHANNELS = 64
SH_TERMS = (3, 8, 15)


def check_inputs(gaussians: Gaussians, camera: Camera, channels: Tensor | None, background: Tensor | None, options: RasterOptions) -> None:
    """Refuse what no backend could draw.

    Raises:
        FourfoldError: a shape, device, image size or option that does not fit, told as got and expected.
    """
    n, device = len(gaussians), gaussians.means.device
    if channels is not None and (channels.ndim != 2 or channels.shape[0] != n or channels.shape[1] > MAX_CHANNELS):
        raise FourfoldError(f"rasterize got channels of shape {tuple(channels.shape)}, expected ({n}, C) with C at most {MAX_CHANNELS}")
    if background is not None and tuple(background.shape) != (3,):
        raise FourfoldError(f"rasterize got a background of shape {tuple(background.shape)}, expected (3,)")
    rest = gaussians.sh_rest
    if rest is not None and (rest.ndim != 3 or rest.shape[0] != n or rest.shape[2] != 3 or rest.shape[1] not in (0, *SH_TERMS)):
        raise FourfoldError(f"rasterize got sh_rest of shape {tuple(rest.shape)}, expected ({n}, K, 3) with K one of {SH_TERMS}")
    if camera.width < 1 or camera.height < 1:
        raise FourfoldError(f"rasterize got an image of {camera.width} x {camera.height} pixels, expected at least 1 x 1")
    if options.depth not in ("expected", "median", "first"):
        raise FourfoldError(f"rasterize got depth mode {options.depth!r}, expected expected, median or first")
    if not options.dilation >= 0:
        raise FourfoldError(f"rasterize got a dilation of {options.dilation} square pixels, expected at least 0")
    others = {"channels": channels, "background": background, "camera": camera.world_to_camera}
    for name, tensor in others.items():
        if tensor is not None and tensor.device != device:
            raise FourfoldError(f"rasterize got {name} on {tensor.device} and Gaussians on {device}: move both to one device")


def focal_in_pose(camera: Camera, gaussians: Gaussians, draw: object) -> Camera:
    """`camera` such that the kernels, which know no gradient of K, pass it on through `world_to_camera`; as it is where K asks for none.

    Stretching the camera's axes by K0^-1 K before projecting with K0 = K projects, and linearises, as K itself: the kernels take any 4x4 matrix.
    The colours of harmonics hang on the camera's centre, which a stretched matrix hides: FourfoldError, the reference serves.
    """
    from fourfold.render.reference import rasterize_reference

    if not camera.K.requires_grad or draw is rasterize_reference:
        return camera
    if sh_of(gaussians) is not None:
        raise FourfoldError("gradients of K are not known to the compiled rasterizers with spherical harmonics: take backend 'reference' or detach K")
    fixed = camera.K.detach()
    stretch = torch.eye(4, dtype=fixed.dtype, device=fixed.device)
    stretch[:3, :3] = torch.linalg.solve(fixed, camera.K)
    return replace(camera, K=fixed, world_to_camera=stretch.to(camera.world_to_camera.dtype) @ camera.world_to_camera)


def sh_of(gaussians: Gaussians) -> Tensor | None:
    """The coefficients, or None where there are none to add."""
    return gaussians.sh_rest if gaussians.sh_rest is not None and gaussians.sh_rest.shape[1] > 0 else None
