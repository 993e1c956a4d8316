"""gsplat behind the same call. Imported only when a CUDA tensor is drawn."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import torch
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.notices import fallback
from fourfold.render.api import RasterOptions, Render, ScreenStatistics
from fourfold.render.inputs import check_inputs
from fourfold.render.projection import usable_rows, view_colors

_INSTALL = "install it with `pip install gsplat` beside a matching CUDA toolkit, or render on the CPU"


def require_gsplat() -> ModuleType:
    """gsplat, with its CUDA part built.

    Raises:
        FourfoldError: it is not installed, or its CUDA part does not build or load.
    """
    try:
        import gsplat
        from gsplat.cuda import _backend
    except ImportError as error:
        raise FourfoldError(f"the CUDA rasterizer needs gsplat, which cannot be imported ({error}): {_INSTALL}") from error
    except (OSError, RuntimeError) as error:  # the just-in-time build of older releases runs on import
        raise FourfoldError(f"gsplat's CUDA part does not build ({error}): {_INSTALL}") from error
    if getattr(_backend, "_C", None) is None:
        raise FourfoldError(f"gsplat is installed without its CUDA part: {_INSTALL}")
    return gsplat


def rasterize_cuda(gaussians: Gaussians, camera: Camera, channels: Tensor | None, background: Tensor | None, options: RasterOptions) -> Render:
    """Draw with gsplat; see `render.api.rasterize`. Median and first-hit depth and the top contributor come from the reference, without gradients.

    Raises:
        FourfoldError: shapes do not match, or gsplat is not there.
    """
    check_inputs(gaussians, camera, channels, background, options)
    gsplat = require_gsplat()
    n, rows = len(gaussians), usable_rows(gaussians, channels)
    if len(rows) == 0:
        return _empty(gaussians, camera, channels, background)
    drawn, kept = (gaussians, channels) if len(rows) == n else (gaussians.select(rows), None if channels is None else channels[rows])
    colors = view_colors(drawn, camera)
    features = (colors if kept is None else torch.cat([colors, kept], 1)).float()
    ground = features.new_zeros(features.shape[1]) if background is None else torch.nn.functional.pad(background.float(), (0, features.shape[1] - 3))
    image, alpha, meta = gsplat.rasterization(
        means=drawn.means.float(),
        quats=drawn.quat_wxyz.float(),
        scales=drawn.scale.float(),
        opacities=drawn.opacity.float(),
        colors=features,
        viewmats=camera.world_to_camera.float()[None],
        Ks=camera.K.float()[None],
        width=camera.width,
        height=camera.height,
        near_plane=camera.near,
        eps2d=options.dilation,
        packed=False,
        backgrounds=ground[None],
        render_mode="RGB+ED",
        rasterize_mode="antialiased" if options.antialias else "classic",
        absgrad=True,
    )
    screen = _statistics(meta, rows, n)
    color, extra, depth = image[0, ..., :3], image[0, ..., 3:-1], image[0, ..., -1]
    render = Render(color, alpha[0, ..., 0], depth, None if channels is None else extra, screen=screen)
    return _with_hits(render, gaussians, camera, options)


def _empty(gaussians: Gaussians, camera: Camera, channels: Tensor | None, background: Tensor | None) -> Render:
    from fourfold.render.reference import rasterize_reference

    return rasterize_reference(gaussians, camera, channels, background, RasterOptions(top_contributor=True))


def _statistics(meta: dict, rows: Tensor, n: int) -> ScreenStatistics:
    """Radius from the conics (gsplat's own is rounded up and differs between releases), gradients when they pass by."""
    centers, conics, reach = meta["means2d"], meta["conics"][0].detach(), meta["radii"][0]
    seen = reach.reshape(len(rows), -1).amin(1) > 0
    xx, xy, yy = conics.unbind(-1)
    smallest = (xx + yy) / 2 - ((xx - yy).square() / 4 + xy.square()).sqrt()
    radius = torch.where(seen, 3 / smallest.clamp(min=1e-12).sqrt(), torch.zeros_like(smallest))
    screen = ScreenStatistics(radius=radius.new_zeros(n).index_copy(0, rows, radius))
    if not centers.requires_grad:
        return screen

    def note(gradient: Tensor) -> None:
        absolute = getattr(centers, "absgrad", None)
        found = gradient[0].new_zeros(n, 2).index_copy(0, rows, gradient[0])
        screen.gradient = found if screen.gradient is None else screen.gradient + found
        if absolute is not None:
            found = gradient[0].new_zeros(n, 2).index_copy(0, rows, absolute[0])
            screen.absolute_gradient = found if screen.absolute_gradient is None else screen.absolute_gradient + found

    centers.register_hook(note)
    return screen


def _with_hits(render: Render, gaussians: Gaussians, camera: Camera, options: RasterOptions) -> Render:
    if options.depth == "expected" and not options.top_contributor:
        return render
    from fourfold.render.reference import rasterize_reference

    fallback("gsplat gives no median or first-hit depth and no top contributor: those come from the slow torch reference")
    with torch.no_grad():
        slow = rasterize_reference(gaussians.detach(), camera, None, None, options)
    return replace(render, depth=render.depth if options.depth == "expected" else slow.depth, top=slow.top)
