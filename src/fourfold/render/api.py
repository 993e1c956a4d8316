"""The rasterizer's contract: `rasterize(gaussians, camera) -> Render`, the same on every backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray
from torch import Tensor

from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians

if TYPE_CHECKING:
    from fourfold.render.points import AtPoints

Backend = Literal["auto", "cpu", "triton", "cuda", "reference"]
DepthMode = Literal["expected", "median", "first"]


@dataclass
class ScreenStatistics:
    """What density control reads of one rendering.

    Attributes:
        radius: (N,) screen extent of each Gaussian in pixels (3 sigma of its major axis), 0 where it was not drawn.
        gradient: (N, 2) d loss / d pixel position of the centre, filled in by the backward pass.
        absolute_gradient: (N, 2) the sum over pixels of the absolute value of the same (AbsGS), filled in by the backward pass.
    """

    radius: Tensor
    gradient: Tensor | None = None
    absolute_gradient: Tensor | None = None


@dataclass
class Render:
    """One rendered image.

    Attributes:
        color: (H, W, 3) RGB over the background, not clamped.
        alpha: (H, W) accumulated opacity.
        depth: (H, W) depth along the optical axis in scene units, 0 where alpha is 0: the alpha-normalised expected depth
            (differentiable), or the median or first-hit depth (not differentiable) when asked.
        channels: (H, W, C) extra channels blended over 0, not divided by alpha, or None.
        top: (H, W) int32 row of the Gaussian with the largest blending weight, -1 where there is none; None unless asked.
        screen: per-Gaussian screen statistics.
        points: (P, C) what was asked for at single positions, and in the last column the accumulated opacity there; or None.
    """

    color: Tensor
    alpha: Tensor
    depth: Tensor
    channels: Tensor | None
    top: Tensor | None = None
    screen: ScreenStatistics = field(repr=False, default=None)  # type: ignore[assignment]
    points: Tensor | None = None


@dataclass(frozen=True)
class RasterOptions:
    """How to rasterize; the defaults are those of gsplat.

    Attributes:
        depth: which depth `Render.depth` holds.
        antialias: compensate the opacity for the screen-space dilation (Mip-Splatting).
        top_contributor: also return the row of the strongest Gaussian per pixel.
        dilation: variance in square pixels added to every screen-space covariance (eps2d).
    """

    depth: DepthMode = "expected"
    antialias: bool = False
    top_contributor: bool = False
    dilation: float = 0.3


def rasterize(
    gaussians: Gaussians,
    camera: Camera,
    *,
    channels: Tensor | NDArray[Any] | None = None,
    background: Tensor | NDArray[Any] | Sequence[float] | None = None,
    points: AtPoints | None = None,
    backend: Backend = "auto",
    options: RasterOptions = RasterOptions(),
) -> Render:
    """Render `gaussians` through `camera`.

    Args:
        channels: (N, C) extra per-Gaussian values to blend, C <= 64; a tensor or an array.
        background: (3,) RGB behind everything, a tensor, an array or three numbers; black if None.
        points: values that are wanted at single positions only (`render.points`); AbsGS's absolute gradients count theirs apart from the image's.
        backend: "auto" takes the compiled kernel for CPU tensors, gsplat ("cuda") for CUDA tensors where it is installed and Triton's
            kernels for those of any GPU else, and says so once when it has to fall back to the slow reference, which also draws what
            is given in float64.

    The camera and the background follow the Gaussians to their device.

    Differentiable in every tensor of `gaussians`, `channels`, the values of `points`, `background` and the camera's `world_to_camera` and `K`.

    Raises:
        FourfoldError: shapes do not match, or the asked backend is not there.
    """
    from fourfold.geometry.tensors import as_tensor
    from fourfold.render.backends import choose, draws_at_points
    from fourfold.render.inputs import focal_in_pose
    from fourfold.render.points import check_points, points_taken, with_points

    means = gaussians.means
    if camera.K.device != means.device:
        camera = camera.to(means.device)
    behind = None if background is None else as_tensor(background, "rasterize: background", means).to(means.device)
    extra = None if channels is None else as_tensor(channels, "rasterize: channels", means)
    draw = choose(backend, means)
    seen = focal_in_pose(camera, gaussians, draw)
    if points is None:
        return draw(gaussians, seen, extra, behind, options)
    check_points(points, gaussians)
    at_points = draws_at_points(draw)
    if at_points is not None:
        return at_points(gaussians, seen, extra, behind, options, points)
    return points_taken(draw(gaussians, seen, with_points(extra, points), behind, options), points)


def draws_together(like: Tensor) -> bool:
    """Whether the backend of tensors like `like` draws several views in one call, so that `rasterize_views` is worth waiting for all of them."""
    from fourfold.render.backends import choose, several_views

    return several_views(choose("auto", like)) is not None


def rasterize_views(
    gaussians: Sequence[Gaussians],
    cameras: Sequence[Camera],
    channels: Sequence[Tensor | None],
    background: Tensor | None = None,
    points: Sequence[AtPoints | None] = (),
) -> list[Render]:
    """`rasterize` of several views, `gaussians[v]` through `cameras[v]`; in one call where the backend can and the views are alike.

    Raises:
        FourfoldError: as `rasterize`.
    """
    from fourfold.render.backends import choose, several_views
    from fourfold.render.points import points_taken, with_points

    together = several_views(choose("auto", gaussians[0].means))
    asked = list(points) or [None] * len(gaussians)
    wide = [e if p is None else with_points(e, p) for e, p in zip(channels, asked, strict=True)]
    sizes = {(len(g), c.width, c.height, c.near) for g, c in zip(gaussians, cameras, strict=True)}
    alike = len(sizes) == 1 and len({None if e is None else e.shape[1] for e in wide}) == 1 and not any(c.K.requires_grad for c in cameras)
    if together is None or not alike:
        views = zip(gaussians, cameras, channels, asked, strict=True)
        return [rasterize(g, c, channels=e, background=background, points=p) for g, c, e, p in views]
    renders = together(gaussians, cameras, wide, background, RasterOptions())
    return [render if p is None else points_taken(render, p) for render, p in zip(renders, asked, strict=True)]
