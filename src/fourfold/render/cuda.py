"""gsplat behind the same call. Imported only when a CUDA tensor is drawn."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from functools import cache
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

_INSTALL = "install it with `pip install 'fourfold[gpu]'` beside a matching CUDA toolkit, or render on the CPU"
_CHUNK = 32  # channels that gsplat draws at a time if it is not told otherwise


def require_gsplat() -> ModuleType:
    """gsplat, with its CUDA part built.

    Raises:
        FourfoldError: it is not installed, or its CUDA part does not build or load.
    """
    found, why = _gsplat()
    if found is None:
        raise FourfoldError(why)
    return found


@cache
def _gsplat() -> tuple[ModuleType | None, str]:
    """gsplat or what is wrong with it, once per process: importing it builds it, for minutes, and a build that fails would be tried at each image."""
    if importlib.util.find_spec("gsplat") is None:
        return None, f"the CUDA rasterizer needs gsplat, which is not installed: {_INSTALL}"
    try:
        import gsplat
        from gsplat.cuda import _backend
    except (ImportError, OSError, RuntimeError) as error:
        return None, f"gsplat is installed but its CUDA part does not build or load ({error}): {_INSTALL}"
    if getattr(_backend, "_C", None) is None:
        return None, f"gsplat is installed without its CUDA part: {_INSTALL}"
    return gsplat, ""


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
        channel_chunk=max(_CHUNK, features.shape[1] + 1),  # depth is one more; drawn in parts, only the last part's absgrad is kept
    )
    screen = _statistics(meta, rows, n)
    color, extra, depth = image[0, ..., :3], image[0, ..., 3:-1], image[0, ..., -1]
    render = Render(color, alpha[0, ..., 0], depth, None if channels is None else extra, screen=screen)
    return _with_hits(render, gaussians, camera, options)


def _empty(gaussians: Gaussians, camera: Camera, channels: Tensor | None, background: Tensor | None) -> Render:
    from fourfold.render.reference import rasterize_reference

    return rasterize_reference(gaussians, camera, channels, background, RasterOptions(top_contributor=True))


class _Watched(ScreenStatistics):
    """Statistics that read the gradients where autograd leaves them.

    A hook that wrote them here would hold its own tensor alive, in a cycle that Python's collector cannot see: 124 bytes per Gaussian and image.
    """

    def __init__(self, radius: Tensor, centers: Tensor, rows: Tensor) -> None:
        centers.retain_grad()
        self.radius, self._centers, self._rows = radius, centers, rows

    def _of_all(self, found: Tensor | None) -> Tensor | None:
        return None if found is None else found.new_zeros(len(self.radius), 2).index_copy(0, self._rows, found[0])

    @property
    def gradient(self) -> Tensor | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._of_all(self._centers.grad)

    @property
    def absolute_gradient(self) -> Tensor | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._of_all(getattr(self._centers, "absgrad", None))


def _statistics(meta: dict, rows: Tensor, n: int) -> ScreenStatistics:
    """Radius from the conics (gsplat's own is rounded up and differs between releases)."""
    centers, conics, reach = meta["means2d"], meta["conics"][0].detach(), meta["radii"][0]
    seen = reach.reshape(len(rows), -1).amin(1) > 0
    xx, xy, yy = conics.unbind(-1)
    smallest = (xx + yy) / 2 - ((xx - yy).square() / 4 + xy.square()).sqrt()
    radius = torch.where(seen, 3 / smallest.clamp(min=1e-12).sqrt(), torch.zeros_like(smallest))
    radius = radius.new_zeros(n).index_copy(0, rows, radius)
    return _Watched(radius, centers, rows) if centers.requires_grad else ScreenStatistics(radius=radius)


def _with_hits(render: Render, gaussians: Gaussians, camera: Camera, options: RasterOptions) -> Render:
    if options.depth == "expected" and not options.top_contributor:
        return render
    from fourfold.render.reference import rasterize_reference

    fallback("gsplat gives no median or first-hit depth and no top contributor: those come from the slow torch reference")
    with torch.no_grad():
        slow = rasterize_reference(gaussians.detach(), camera, None, None, options)
    return replace(render, depth=render.depth if options.depth == "expected" else slow.depth, top=slow.top)
