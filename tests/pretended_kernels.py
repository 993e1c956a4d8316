"""What the Triton kernels do, on the data under tensors of the pretended GPU."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch

import pretended_gpu
from fourfold.kernels import adam
from fourfold.kernels.adam import adam_step_reference
from fourfold.losses import robust, ssim
from fourfold.render.api import Render, ScreenStatistics
from fourfold.render.cpu import rasterize_cpu
from fourfold.render.inputs import check_inputs
from fourfold.render.statistics import add_screen_gradients
from fourfold.scene import blend, carriers, skinning
from pretended_gpu import RASTER_LAUNCHES, RASTER_WAITS, OnGpu, raw

SSIM_LAUNCHES = (11, 2)  # of `FusedOnGpu`, four of them kernels; forward and backward, here and below; tests/test_kernels_triton.py counts
BLEND_LAUNCHES, SKIN_LAUNCHES, TABLE_LAUNCHES, CARRIERS_LAUNCHES = (1, 2), (1, 4), (1, 1), (1, 3)
TRIMMED_LAUNCHES, MEAN_LAUNCHES = (4, 2), (2, 2)
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
    if step == 1:
        raw(first).zero_()
        raw(second).zero_()
    adam_step_reference(raw(param), raw(grad), raw(first), raw(second), step, rate, numbers, raw(rows))


class _Answer(torch.autograd.Function):
    """What a fused function of GPUs gives, by the CPU's on the data underneath."""

    @staticmethod
    def forward(ctx: Any, call: Any, launches: tuple[int, int], *tensors: Any) -> Any:
        pretended_gpu.count(launches[0])
        ctx.launches, ctx.inputs = launches, [t if t is None else raw(t).detach().requires_grad_(t.is_floating_point()) for t in tensors]
        with torch.enable_grad():
            found = call(*ctx.inputs)
        ctx.found = found if isinstance(found, tuple) else (found,)
        made = tuple(OnGpu(t.detach()) for t in ctx.found)
        ctx.mark_non_differentiable(*(t for t, value in zip(made, ctx.found, strict=True) if not value.requires_grad))
        ctx.set_materialize_grads(False)
        return made if isinstance(found, tuple) else made[0]

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> tuple[Any, ...]:
        pretended_gpu.count(ctx.launches[1])
        pairs = [(value, raw(g)) for value, g in zip(ctx.found, upstream, strict=True) if g is not None and value.requires_grad]
        leaves = [t for t in ctx.inputs if t is not None and t.requires_grad]
        found = iter(torch.autograd.grad([value for value, _ in pairs], leaves, [g for _, g in pairs], allow_unused=True))
        results = [next(found) if t is not None and t.requires_grad else None for t in ctx.inputs]
        return None, None, *(g if g is None else OnGpu(g) for g in results)


def similarity(image: Any, target: Any, weight: Any) -> Any:
    """`ssim_on_gpu` where there is no GPU: the compiled kernel."""
    return _Answer.apply(ssim.ssim, SSIM_LAUNCHES, image, target, weight)


def blended(turned: int, *tensors: Any) -> Any:
    """`blend_on_gpu`."""
    return _Answer.apply(lambda *t: blend.blend(*t[:4], t[4].detach(), turned), BLEND_LAUNCHES, *tensors)


def trimmed(residual: Any, weight: Any, level: float, axis: int | None = None, signed: bool = False, before_masking: bool = False) -> Any:
    """`trimmed_on_gpu`."""

    def call(error: Any, share: Any) -> Any:
        share = None if share is None else share.detach()
        return robust.trimmed_l1(error, share, level, axis) if signed else robust.trimmed_mean(error, share, level, before_masking)

    return _Answer.apply(call, TRIMMED_LAUNCHES if level < 1 else MEAN_LAUNCHES, residual, weight)


def skinned(how: Any, near: Any, *tensors: Any) -> Any:
    """`skin_on_gpu`."""
    return _Answer.apply(lambda *t: skinning.skin(t[0], raw(near), *t[1:], *how), SKIN_LAUNCHES, *tensors)


def table(now: Any, then: Any) -> Any:
    """`motion_table_on_gpu`."""
    return _Answer.apply(carriers.motion_table, TABLE_LAUNCHES, now, then)


def carried(points: Any, falling: Any, pull: bool) -> Any:
    """`carriers_on_gpu`."""
    on_cpu = carriers.Followers(*(raw(getattr(points, f.name)).detach() for f in fields(points)))
    return _Answer.apply(lambda given: carriers.carriers_reference(on_cpu, given, pull), CARRIERS_LAUNCHES, falling)


def stand_in(patch: Any) -> None:
    """They all answer for the kernels of GPUs while `patch` lasts."""
    patch.setattr(adam, "adam_step_on_gpu", adam_rows)
    patch.setattr(ssim, "ssim_on_gpu", similarity)
    patch.setattr(robust, "trimmed_on_gpu", trimmed)
    patch.setattr(blend, "blend_on_gpu", blended)
    patch.setattr(skinning, "skin_on_gpu", skinned)
    patch.setattr(carriers, "motion_table_on_gpu", table)
    patch.setattr(carriers, "carriers_on_gpu", carried)
