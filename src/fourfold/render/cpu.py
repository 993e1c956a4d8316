"""The compiled CPU rasterizer behind autograd."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.kernels.library import load
from fourfold.render.api import RasterOptions, Render, ScreenStatistics
from fourfold.render.inputs import check_inputs, sh_of
from fourfold.render.kernel import GRADIENT_ARRAYS, CCamera, CGaussians, CGradients, CImageGradients, CImages, CPoints, address, declare
from fourfold.render.points import AtPoints
from fourfold.render.statistics import add_screen_gradients

_DEPTH_MODES = {"expected": 0, "median": 1, "first": 2}
_INPUTS = ("means", "quat", "log_scale", "opacity_logit", "visibility", "color", "sh_rest", "channels", "background", "world_to_camera", "values")


def available() -> bool:
    """Whether a compiled kernel for this CPU is installed."""
    return load() is not None


def set_threads(threads: int) -> None:
    """Let the kernels use `threads` threads, the calling one included. By default they use every core."""
    _library().ff_set_threads(int(threads))


def get_threads() -> int:
    """The number of threads the kernels use."""
    return int(_library().ff_get_threads())


def _library() -> ctypes.CDLL:
    library = load()
    if library is None:
        raise FourfoldError("the compiled CPU kernel is not installed: install fourfold again with a C++ compiler, or take backend='reference'")
    return library if library.ff_raster_forward.restype is ctypes.c_void_p else declare(library)


class _Frame:
    """What a forward pass left in the kernel; given back when the last one who could run the backward pass is gone."""

    def __init__(self, library: ctypes.CDLL, handle: int) -> None:
        self.library, self.handle = library, handle

    def __del__(self) -> None:
        self.library.ff_raster_free(self.handle)


@dataclass(frozen=True)
class _Setup:
    """What is no differentiable input of a call, and the statistics its backward pass fills in; pixels (P, 2) of the points, or None."""

    camera: CCamera
    with_top: bool
    screen: ScreenStatistics
    pixels: Tensor | None


def _camera_numbers(camera: Camera, options: RasterOptions) -> CCamera:
    K = camera.K.detach().tolist()
    rows = (ctypes.c_float * 16)(*camera.world_to_camera.detach().flatten().tolist())
    focal = (K[0][0], K[1][1], K[0][2], K[1][2])
    return CCamera(rows, *focal, camera.near, options.dilation, camera.width, camera.height, int(options.antialias), _DEPTH_MODES[options.depth])


def _gaussian_numbers(tensors: dict[str, Any]) -> CGaussians:
    means, sh_rest, channels = tensors["means"], tensors["sh_rest"], tensors["channels"]
    arrays = [address(tensors[name]) for name in _INPUTS[:8]]
    return CGaussians(len(means), *arrays, 0 if sh_rest is None else sh_rest.shape[1], 0 if channels is None else channels.shape[1])


def _points(pixels: Tensor, values: Tensor, of_points: Tensor | None = None, by_values: Tensor | None = None) -> CPoints:
    return CPoints(len(pixels), values.shape[0], values.shape[2], *map(address, (pixels, values, of_points, by_values)))


class _Rasterize(torch.autograd.Function):
    """Inputs in the order of `_INPUTS`, contiguous float32; outputs colour, alpha, depth, channels, points, top, radius."""

    @staticmethod
    def forward(ctx: Any, setup: _Setup, *inputs: Tensor | None) -> tuple[Tensor | None, ...]:
        library = _library()
        tensors: dict[str, Any] = dict(zip(_INPUTS, inputs, strict=True))
        means, channels, background = tensors["means"], tensors["channels"], tensors["background"]
        h, w = setup.camera.height, setup.camera.width
        color, alpha, depth = means.new_empty(h, w, 3), means.new_empty(h, w), means.new_empty(h, w)
        extra = None if channels is None else means.new_empty(h, w, channels.shape[1])
        top = means.new_empty(h, w, dtype=torch.int32) if setup.with_top else None
        radius = means.new_empty(len(means))
        images = CImages(*map(address, (color, alpha, depth, extra, top, radius)))
        handle = library.ff_raster_forward(_gaussian_numbers(tensors), setup.camera, address(background), images)
        if not handle:
            raise MemoryError("the CPU rasterizer ran out of memory")
        frame = _Frame(library, handle)
        points, values = None, tensors["values"]
        if setup.pixels is not None:
            points = means.new_empty(len(setup.pixels), values.shape[0] * values.shape[2] + 1)
            if library.ff_points_forward(handle, _points(setup.pixels, values), address(points)):
                raise MemoryError("the CPU rasterizer ran out of memory at single points")
        ctx.set_materialize_grads(False)
        constant = (depth if setup.camera.depth_mode != 0 else None, top, radius)
        ctx.mark_non_differentiable(*(t for t in constant if t is not None))
        ctx.save_for_backward(*inputs)
        ctx.setup, ctx.frame = setup, frame
        return color, alpha, depth, extra, points, top, radius

    @staticmethod
    def backward(ctx: Any, *of_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        tensors: dict[str, Any] = dict(zip(_INPUTS, ctx.saved_tensors, strict=True))
        setup, means = ctx.setup, tensors["means"]
        of_images = [None if g is None else g.contiguous() for g in of_outputs[:5]]
        wanted = dict(zip(_INPUTS, ctx.needs_input_grad[1:], strict=True))
        results: dict[str, Any] = {name: torch.empty_like(tensors[name]) if wanted[name] else None for name in _INPUTS}
        results["screen"], results["absolute_screen"] = means.new_empty(len(means), 2), means.new_empty(len(means), 2)
        points = None if of_images[4] is None else _points(setup.pixels, tensors["values"], of_images[4], results["values"])
        if points is None:
            results["values"] = None
        status = ctx.frame.library.ff_raster_backward_with_points(
            ctx.frame.handle,
            _gaussian_numbers(tensors),
            address(tensors["background"]),
            CImageGradients(*map(address, of_images[:4])),
            CGradients(*(address(results[name]) for name in GRADIENT_ARRAYS)),
            points,
        )
        if status != 0:
            raise MemoryError("the CPU rasterizer ran out of memory in its backward pass")
        add_screen_gradients(setup.screen, results["screen"], results["absolute_screen"])
        return None, *(results[name] for name in _INPUTS)


def rasterize_cpu(
    gaussians: Gaussians,
    camera: Camera,
    channels: Tensor | None,
    background: Tensor | None,
    options: RasterOptions,
    points: AtPoints | None = None,
) -> Render:
    """Draw with the compiled kernel. Inputs of another floating dtype are computed in float32 and the images cast back.

    Raises:
        FourfoldError: shapes do not match, or no kernel is installed.
    """
    check_inputs(gaussians, camera, channels, background, options)
    dtype = gaussians.means.dtype
    if channels is not None and channels.shape[1] == 0:
        empty, channels = channels, None
    else:
        empty = None
    ground = gaussians.means.new_zeros(3) if background is None else background
    shape = (gaussians.means, gaussians.quat_wxyz, gaussians.log_scale, gaussians.opacity_logit)
    values = None if points is None else points.values
    inputs = (*shape, gaussians.visibility, gaussians.color, sh_of(gaussians), channels, ground, camera.world_to_camera, values)
    ready = [None if t is None else t.to(torch.float32).contiguous() for t in inputs]
    screen = ScreenStatistics(radius=gaussians.means.new_empty(0))
    pixels = None if points is None else points.pixels.detach().to(torch.float32).contiguous()
    setup = _Setup(_camera_numbers(camera, options), options.top_contributor, screen, pixels)
    color, alpha, depth, extra, read, top, radius = _Rasterize.apply(setup, *ready)
    screen.radius = radius
    if empty is not None:
        extra = empty.new_zeros(camera.height, camera.width, 0)
    color, alpha, depth = (image.to(dtype) for image in (color, alpha, depth))
    extra, read = (None if image is None else image.to(dtype) for image in (extra, read))
    return Render(color, alpha, depth, extra, points=read, top=top, screen=screen)
