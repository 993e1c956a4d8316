"""The rasterizer for every GPU that Triton knows (NVIDIA, AMD, Intel), without a build: kernels of `triton_kernels/` behind autograd.

Semantics and order of sums are those of the compiled CPU kernel: records of (tile, Gaussian) are added in a fixed order, nothing atomically,
so that the same inputs give the same bits. Several views of one scene can be drawn in one call. One host wait: the length of the tile list.
On CPU tensors it runs in Triton's interpreter, where TRITON_INTERPRET=1 was set before: for tests.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.render.api import RasterOptions, Render, ScreenStatistics
from fourfold.render.inputs import check_inputs, sh_of
from fourfold.render.projection import view_colors
from fourfold.render.statistics import add_screen_gradients

TILE = 8  # pixels
MOMENTS = 8
WIDEST = 8  # channels at a time: more need more registers than a thread has, in the backward pass
ROWS, ENTRIES, SUMS = 128, 256, 16  # Gaussians, list entries and records' owners of one program
_INPUTS = ("means", "quat", "log_scale", "logit", "visibility", "color", "channels", "background", "world_to_camera")


@cache
def missing() -> str:
    """Why Triton's kernels cannot be loaded here, or "" where they can."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed (it comes with torch's GPU builds; else `pip install triton`)"
    try:
        importlib.import_module("fourfold.render.triton_kernels.draw")
    except (ImportError, OSError, RuntimeError) as error:
        return f"Triton does not load ({error})"
    return ""


def interpreted() -> bool:
    """Whether the kernels run in Triton's interpreter, that is on CPU tensors."""
    return os.environ.get("TRITON_INTERPRET", "") in ("1", "true")


def _launch(kernel: Any, grid: tuple[int, ...], *arguments: Tensor | float | None, **constants: int) -> None:
    kernel[grid](*arguments, **constants)


@dataclass(frozen=True)
class _Views:
    """What a call is about, beside its tensors.

    Attributes:
        views, rows: how many views, and Gaussians in each.
        width, height, near: of every camera.
        extra: channels beside colour and depth.
    """

    views: int
    rows: int
    width: int
    height: int
    near: float
    extra: int
    options: RasterOptions
    screens: tuple[ScreenStatistics, ...]

    @property
    def tiles_x(self) -> int:
        return -(-self.width // TILE)

    @property
    def tiles(self) -> int:
        """Tiles of one view."""
        return self.tiles_x * -(-self.height // TILE)

    @property
    def width_of_group(self) -> int:
        return 4 if self.extra == 0 else WIDEST

    @property
    def groups(self) -> int:
        return -(-(4 + self.extra) // self.width_of_group)

    @property
    def track(self) -> bool:
        return self.options.depth != "expected" or self.options.top_contributor


@dataclass(frozen=True)
class _Lists:
    """Which Gaussians each tile blends.

    Attributes:
        order: (R,) rows of all views, nearest first.
        ends: (R,) cumulated number of tiles in that order.
        ids: (entries,) rows, tile after tile, nearest first; slots: (entries,) where the entry's record goes, beside the others of its Gaussian.
        offsets: (tiles + 1,) where each tile's entries begin.
    """

    order: Tensor
    ends: Tensor
    ids: Tensor
    slots: Tensor
    offsets: Tensor


def _lists(call: _Views, keys: Tensor, counts: Tensor, boxes: Tensor) -> _Lists:
    from fourfold.render.triton_kernels.tiles import list_kernel

    order = torch.argsort(keys, stable=True)
    ends = torch.cumsum(counts[order], 0)
    total = int(ends[-1])
    tiles, owners = counts.new_empty(total), counts.new_empty(total)
    ranks = len(order)
    if total:
        grid, sizes = (-(-total // ENTRIES),), (call.rows, ranks, total, ranks.bit_length(), call.tiles_x, call.tiles)
        _launch(list_kernel, grid, order, ends, counts, boxes, tiles, owners, *sizes, BLOCK=ENTRIES)
    tiles, slots = torch.sort(tiles, stable=True)
    offsets = torch.searchsorted(tiles, torch.arange(call.views * call.tiles + 1, dtype=torch.int32, device=keys.device), out_int32=True)
    return _Lists(order, ends, owners[slots], slots, offsets)


class _Rasterize(torch.autograd.Function):
    """Inputs in the order of `_INPUTS`, contiguous float32, all views one after the other; outputs colour, alpha, depth, channels, top, radius."""

    @staticmethod
    def forward(ctx: Any, call: _Views, *inputs: Tensor | None) -> tuple[Tensor | None, ...]:
        from fourfold.render.triton_kernels.draw import draw_kernel
        from fourfold.render.triton_kernels.project import project_kernel

        x: dict[str, Any] = dict(zip(_INPUTS, inputs, strict=True))
        means, rows, options = x["means"], call.views * call.rows, call.options
        splats, values, radius, keys = means.new_empty(rows, 6), means.new_empty(rows, 4 + call.extra), means.new_empty(rows), means.new_empty(rows)
        boxes, counts = means.new_empty(rows, 4, dtype=torch.int32), means.new_empty(rows, dtype=torch.int32)
        _launch(
            project_kernel,
            (-(-call.rows // ROWS), call.views),
            *(x[name] for name in ("means", "quat", "log_scale", "logit", "visibility", "color", "channels", "world_to_camera")),
            *(splats, values, radius, boxes, counts, keys, call.rows, call.width, call.height, call.near, options.dilation),
            EXTRA=call.extra,
            VISIBILITY=x["visibility"] is not None,
            ANTIALIAS=options.antialias,
            TILE=TILE,
            BLOCK=ROWS,
        )
        lists = _lists(call, keys, counts, boxes)
        size = (call.views, call.height, call.width)
        color, alpha, depth, left = means.new_empty(*size, 3), means.new_empty(size), means.new_empty(size), means.new_empty(size)
        extra = means.new_empty(*size, call.extra) if call.extra else None
        last = counts.new_empty(size)
        first, median, top = (counts.new_empty(size) for _ in range(3)) if call.track else (None, None, None)
        images = (color, alpha, depth, extra, left, last, first, median, top)
        _launch(
            draw_kernel,
            (call.views * call.tiles, call.groups),
            *(splats, values, x["background"], lists.ids, lists.offsets, *images, call.width, call.height, call.tiles_x, call.tiles),
            EXTRA=call.extra,
            WIDTH=call.width_of_group,
            TILE=TILE,
            TRACK=call.track,
            num_warps=1,
        )
        ctx.set_materialize_grads(True)
        ctx.save_for_backward(*inputs, splats, values, counts, alpha, depth, left, last, *vars(lists).values())
        ctx.call = call
        hit = None if options.depth == "expected" else first if options.depth == "first" else median
        shown = depth if hit is None else torch.where(hit >= 0, keys[hit.clamp(min=0)], 0)
        constant = [t for t in (top, radius, None if hit is None else shown) if t is not None]
        ctx.mark_non_differentiable(*constant)
        return color, alpha, shown, extra, top, radius

    @staticmethod
    def backward(ctx: Any, *of_outputs: Tensor) -> tuple[Tensor | None, ...]:
        call: _Views = ctx.call
        saved = ctx.saved_tensors
        x: dict[str, Any] = dict(zip(_INPUTS, saved, strict=False))
        splats, values, counts, alpha, depth, left, last = saved[len(_INPUTS) : len(_INPUTS) + 7]
        lists = _Lists(*saved[len(_INPUTS) + 7 :])
        of_color, of_alpha, of_depth, of_channels = (None if g is None else g.contiguous() for g in of_outputs[:4])
        if call.options.depth != "expected":
            of_depth = torch.zeros_like(alpha)
        records, of_background = _records(
            call, lists, (splats, values, x["background"]), (alpha, depth, left, last), (of_color, of_alpha, of_depth, of_channels)
        )
        sums = _sums(lists, counts, records)
        g = _project_backward(call, x, splats, counts, sums)
        for view, screen in enumerate(call.screens):
            rows = slice(view * call.rows, (view + 1) * call.rows)
            add_screen_gradients(screen, g["screen"][rows], g["absolute"][rows])
        g["color"], g["channels"] = sums[:, MOMENTS : MOMENTS + 3], sums[:, MOMENTS + 3 : MOMENTS + 3 + call.extra] if call.extra else None
        g["background"] = of_background
        return None, *(g[name] if wanted else None for name, wanted in zip(_INPUTS, ctx.needs_input_grad[1:], strict=True))


def _records(
    call: _Views, lists: _Lists, scene: tuple[Tensor, ...], images: tuple[Tensor, ...], of_images: tuple[Tensor | None, ...]
) -> tuple[Tensor, Tensor]:
    """(entries, moments and values) of each tile's Gaussians, and (views, 3) d loss / d background."""
    from fourfold.render.triton_kernels.draw import draw_backward_kernel

    splats, values, backgrounds = scene
    records = splats.new_zeros(len(lists.ids), MOMENTS + call.groups * call.width_of_group)
    of_background = splats.new_empty(call.views, call.tiles, 3)
    _launch(
        draw_backward_kernel,
        (call.views * call.tiles,),
        *(splats, values, backgrounds, lists.ids, lists.slots, lists.offsets, *images, *of_images, records, of_background),
        *(call.width, call.height, call.tiles_x, call.tiles),
        EXTRA=call.extra,
        WIDTH=call.width_of_group,
        GROUPS=call.groups,
        TILE=TILE,
        num_warps=1,
    )
    return records, of_background.sum(1)


def _sums(lists: _Lists, counts: Tensor, records: Tensor) -> Tensor:
    """(R, moments and values): the records of each Gaussian added up."""
    from fourfold.render.triton_kernels.tiles import sum_kernel

    ranks, width = len(counts), records.shape[1]
    sums = records.new_empty(ranks, width)
    widened = 1 << (width - 1).bit_length()
    _launch(sum_kernel, (-(-ranks // SUMS),), lists.order, lists.ends, counts, records, sums, ranks, width, WIDTH=widened, BLOCK=SUMS)
    return sums


def _project_backward(call: _Views, x: dict[str, Any], splats: Tensor, counts: Tensor, sums: Tensor) -> dict[str, Any]:
    """Gradients of the shape of each Gaussian, its screen statistics, and of the cameras."""
    from fourfold.render.triton_kernels.project import project_backward_kernel

    means = x["means"]
    names = ("means", "quat", "log_scale", "logit", "visibility")
    g: dict[str, Any] = {name: None if x[name] is None else torch.empty_like(x[name]) for name in names}
    g["screen"], g["absolute"] = means.new_empty(len(means), 2), means.new_empty(len(means), 2)
    blocks = -(-call.rows // ROWS)
    parts = means.new_empty(call.views, blocks, 12)
    _launch(
        project_backward_kernel,
        (blocks, call.views),
        *(x[name] for name in names),
        *(x["world_to_camera"], splats, counts, sums, sums.shape[1]),
        *g.values(),
        *(parts, call.rows, call.width, call.height, call.options.dilation, MOMENTS + 3 + call.extra),
        VISIBILITY=x["visibility"] is not None,
        ANTIALIAS=call.options.antialias,
        BLOCK=ROWS,
    )
    g["world_to_camera"] = torch.nn.functional.pad(parts.sum(1), (0, 6))
    return g


def rasterize_triton(gaussians: Gaussians, camera: Camera, channels: Tensor | None, background: Tensor | None, options: RasterOptions) -> Render:
    """Draw with Triton; see `render.api.rasterize`. Inputs of another floating dtype are computed in float32 and the images cast back.

    Raises:
        FourfoldError: shapes do not match.
    """
    return rasterize_views([gaussians], [camera], [channels], background, options)[0]


def rasterize_views(
    gaussians: Sequence[Gaussians],
    cameras: Sequence[Camera],
    channels: Sequence[Tensor | None],
    background: Tensor | None,
    options: RasterOptions,
) -> list[Render]:
    """Draw view v: `gaussians[v]` through `cameras[v]`. All have as many Gaussians and channels, and one image size and near plane.

    Raises:
        FourfoldError: shapes do not match.
    """
    for g, camera, extra in zip(gaussians, cameras, channels, strict=True):
        check_inputs(g, camera, extra, background, options)
    like, camera, rows = gaussians[0].means, cameras[0], len(gaussians[0])
    same = {(len(g), c.width, c.height, c.near, None if e is None else e.shape[1]) for g, c, e in zip(gaussians, cameras, channels, strict=True)}
    if len(same) > 1:
        raise FourfoldError(f"rasterize_views got views of {sorted(map(str, same))} Gaussians, width, height, near and channels: they must be equal")
    if rows == 0:
        return [_nothing(g, c, e, background) for g, c, e in zip(gaussians, cameras, channels, strict=True)]
    screens = tuple(ScreenStatistics(radius=like.new_empty(0)) for _ in cameras)
    extra = 0 if channels[0] is None else channels[0].shape[1]
    call = _Views(len(cameras), rows, camera.width, camera.height, camera.near, extra, options, screens)
    color, alpha, depth, blended, top, radius = _Rasterize.apply(call, *_inputs(gaussians, cameras, channels, background, extra))
    images = [_apart(image) for image in (color, alpha, depth)]
    extras = None if blended is None else _apart(blended)
    renders = []
    for view, screen in enumerate(screens):
        screen.radius = radius[view * rows : (view + 1) * rows]
        image = None if channels[0] is None else like.new_zeros(camera.height, camera.width, 0) if extras is None else extras[view].to(like.dtype)
        strongest = torch.where(top[view] >= 0, top[view] - view * rows, top[view]) if options.top_contributor else None
        seen, covered, far = (parts[view].to(like.dtype) for parts in images)
        renders.append(Render(seen, covered, far, image, top=strongest, screen=screen))
    return renders


def _apart(images: Tensor) -> Sequence[Tensor]:
    """The image of each view; of a single one without a launch on the way back."""
    return [images.squeeze(0)] if len(images) == 1 else images.unbind()


def _inputs(
    gaussians: Sequence[Gaussians], cameras: Sequence[Camera], channels: Sequence[Tensor | None], background: Tensor | None, extra: int
) -> list[Tensor | None]:
    """The tensors of `_INPUTS`."""

    def stacked(parts: Sequence[Tensor]) -> Tensor:
        whole = parts[0] if len(parts) == 1 else torch.cat(list(parts))
        return whole.to(torch.float32).contiguous()

    like = gaussians[0].means
    shapes = [stacked([getattr(g, name) for g in gaussians]) for name in ("means", "quat_wxyz", "log_scale", "opacity_logit")]
    visibility = None
    if any(g.visibility is not None for g in gaussians):
        visibility = stacked([torch.ones_like(g.opacity_logit) if g.visibility is None else g.visibility for g in gaussians])
    colors = stacked([_colors(g, camera) for g, camera in zip(gaussians, cameras, strict=True)])
    ground = like.new_zeros(len(cameras), 3, dtype=torch.float32) if background is None else background.float().expand(len(cameras), 3).contiguous()
    poses = torch.stack(
        [torch.cat([c.world_to_camera.to(like.device)[:3].reshape(12), c.K.to(like)[:2].reshape(6).to(c.world_to_camera.dtype)]) for c in cameras]
    )
    return [*shapes, visibility, colors, stacked([e for e in channels if e is not None]) if extra else None, ground, poses.float()]


def _colors(gaussians: Gaussians, camera: Camera) -> Tensor:
    """(N, 3) seen from the camera; NaN, so that it is not drawn, and without a gradient where a number of it is not finite."""
    rest = sh_of(gaussians)
    if rest is None:
        return gaussians.color
    good = torch.isfinite(rest).flatten(1).all(1) & torch.isfinite(gaussians.means).all(1) & torch.isfinite(gaussians.color).all(1)
    means, color = (torch.where(good[:, None], t, 0) for t in (gaussians.means, gaussians.color))
    safe = replace(gaussians, means=means, color=color, sh_rest=torch.where(good[:, None, None], rest, 0))
    return torch.where(good[:, None], view_colors(safe, camera), torch.nan)


def _nothing(gaussians: Gaussians, camera: Camera, channels: Tensor | None, background: Tensor | None) -> Render:
    from fourfold.render.reference import rasterize_reference

    return rasterize_reference(gaussians, camera, channels, background, RasterOptions(top_contributor=True))
