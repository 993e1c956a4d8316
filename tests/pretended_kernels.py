"""What the Triton kernels do, on the data under tensors of the pretended GPU."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch

import pretended_gpu
from fourfold.kernels.adam import adam_step_reference
from fourfold.losses.ssim import ssim
from fourfold.render.api import Render, ScreenStatistics
from fourfold.render.cpu import rasterize_cpu
from fourfold.render.inputs import check_inputs
from fourfold.render.statistics import add_screen_gradients
from pretended_gpu import RASTER_LAUNCHES, RASTER_WAITS, OnGpu, raw

SSIM_LAUNCHES = 11  # of `FusedOnGpu`, four of them kernels
IMAGES = ("color", "alpha", "depth", "channels", "top")


class _Draw(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: Any, screen: ScreenStatistics, *inputs: Any) -> tuple[Any, ...]:
        ctx.free = pretended_gpu.is_free()
        if not ctx.free:
            pretended_gpu.count(RASTER_LAUNCHES[0], RASTER_WAITS)
        ctx.inputs = [None if t is None else raw(t).detach().requires_grad_(t.is_floating_point()) for t in inputs]
        with torch.enable_grad():
            render = call(*ctx.inputs)
        ctx.render, ctx.screen = render, screen
        screen.radius = OnGpu(render.screen.radius)
        made = [getattr(render, name) for name in IMAGES]
        made = [None if t is None else OnGpu(t.detach()) for t in made]
        ctx.mark_non_differentiable(*(t for t, name in zip(made, IMAGES, strict=True) if t is not None and not getattr(render, name).requires_grad))
        return tuple(made)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        if not ctx.free:
            pretended_gpu.count(RASTER_LAUNCHES[1])
        images = [getattr(ctx.render, name) for name in IMAGES]
        pairs = [(t, raw(g)) for t, g in zip(images, gradients, strict=True) if t is not None and t.requires_grad and g is not None]
        leaves = [t for t in ctx.inputs if t is not None]
        found = iter(torch.autograd.grad([t for t, _ in pairs], leaves, [g for _, g in pairs], allow_unused=True))
        screen = ctx.render.screen
        add_screen_gradients(ctx.screen, OnGpu(screen.gradient), OnGpu(screen.absolute_gradient))
        answers = [None if t is None else next(found) for t in ctx.inputs]
        return None, None, *(None if g is None else OnGpu(g) for g in answers)


def rasterize_pretended(gaussians: Any, camera: Any, channels: Any, background: Any, options: Any) -> Render:
    """`rasterize_triton` where there is no GPU: the compiled kernel."""
    check_inputs(gaussians, camera, channels, background, options)
    names = [f.name for f in fields(gaussians)]

    def call(pose: Any, extra: Any, ground: Any, *parts: Any) -> Render:
        placed = replace(camera, K=raw(camera.K.detach()), world_to_camera=pose)
        return rasterize_cpu(type(gaussians)(**dict(zip(names, parts, strict=True))), placed, extra, ground, options)

    screen = ScreenStatistics(radius=gaussians.means)
    images = _Draw.apply(call, screen, camera.world_to_camera, channels, background, *(getattr(gaussians, name) for name in names))
    return Render(*images, screen=screen)


def views_pretended(gaussians: Any, cameras: Any, channels: Any, background: Any, options: Any) -> list[Render]:
    """`rasterize_views` of `triton_backend`: the views one by one, for the launches and the wait of one."""
    with pretended_gpu.free():
        views = zip(gaussians[1:], cameras[1:], channels[1:], strict=True)
        rest = [rasterize_pretended(g, c, e, background, options) for g, c, e in views]
    return [rasterize_pretended(gaussians[0], cameras[0], channels[0], background, options), *rest]


def adam_rows(param: Any, grad: Any, first: Any, second: Any, step: int, rate: float, numbers: Any, rows: Any) -> None:
    """`adam_step_on_gpu` where there is no GPU: its plain twin."""
    pretended_gpu.count(1)
    adam_step_reference(raw(param), raw(grad), raw(first), raw(second), step, rate, numbers, raw(rows))


class _Similarity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Any, target: Any, weight: Any) -> Any:
        pretended_gpu.count(SSIM_LAUNCHES)
        ctx.image = raw(image).detach().requires_grad_()
        with torch.enable_grad():
            ctx.value = ssim(ctx.image, raw(target), raw(weight))
        return OnGpu(ctx.value.detach())

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> tuple[Any, None, None]:
        pretended_gpu.count(2)
        (found,) = torch.autograd.grad(ctx.value, ctx.image, raw(upstream))
        return OnGpu(found), None, None


def similarity(image: Any, target: Any, weight: Any) -> Any:
    """`ssim_on_gpu` where there is no GPU: the compiled kernel."""
    return _Similarity.apply(image, target, weight)
