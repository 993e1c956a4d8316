"""From Gaussians in the world to ellipses on the screen, in plain torch: EWA splatting as gsplat does it.

The readable twin of `kernels/footprint.h`; spec cpu_rasterizer.md, section "Semantics".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.render.api import RasterOptions
from fourfold.render.harmonics import harmonics_basis
from fourfold.render.inputs import sh_of

FRUSTUM_MARGIN = 0.3  # share of tan(half field of view) by which the Jacobian's clamp widens the frustum
MIN_ALPHA = 1.0 / 255.0


@dataclass(frozen=True)
class Splats:
    """M Gaussians on the screen, in the order of depth.

    Attributes:
        row: (M,) which Gaussian each is.
        centers: (M, 2) pixels.
        inverse: (M, 3) inverse screen covariance (xx, xy, yy), 1 / square pixels.
        covariance: (M, 3) screen covariance (xx, xy, yy), square pixels, dilated.
        opacity: (M,) times visibility and the antialiasing compensation.
        depth: (M,) along the optical axis.
    """

    row: Tensor
    centers: Tensor
    inverse: Tensor
    covariance: Tensor
    opacity: Tensor
    depth: Tensor


def rotation_of(quat_wxyz: Tensor) -> Tensor:
    """(N, 3, 3) rotations of (N, 4) quaternions of any non-zero norm."""
    w, x, y, z = (quat_wxyz / quat_wxyz.norm(dim=-1, keepdim=True)).unbind(-1)
    entries = (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y))
    entries += (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x))
    entries += (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y))
    return torch.stack(entries, -1).reshape(-1, 3, 3)


def usable_rows(gaussians: Gaussians, channels: Tensor | None) -> Tensor:
    """(M,) rows whose every number is finite and whose quaternion is not zero; the others are not drawn."""
    with torch.no_grad():
        parts = (gaussians.means, gaussians.quat_wxyz, gaussians.log_scale, gaussians.opacity_logit, gaussians.color)
        optional = (gaussians.visibility, gaussians.sh_rest, channels)
        good = gaussians.quat_wxyz.square().sum(-1) > 0
        for values in (*parts, *(v for v in optional if v is not None)):
            good &= torch.isfinite(values).flatten(1).all(1) if values.ndim > 1 else torch.isfinite(values)
        return torch.nonzero(good)[:, 0]


def view_colors(gaussians: Gaussians, camera: Camera) -> Tensor:
    """(N, 3) RGB seen from the camera: `color` as it is, or max(0, color + harmonics of degree >= 1) where there are any."""
    rest = sh_of(gaussians)
    if rest is None:
        return gaussians.color
    offset = gaussians.means - camera.center.to(gaussians.means)
    length = offset.square().sum(-1, keepdim=True)
    direction = offset * torch.where(length > 0, length, torch.ones_like(length)).rsqrt()
    return (gaussians.color + (harmonics_basis(direction, rest.shape[1])[..., None] * rest).sum(1)).clamp(min=0)


def project(gaussians: Gaussians, camera: Camera, options: RasterOptions, rows: Tensor) -> Splats:
    """The Gaussians `rows` on the screen, those kept that can reach a pixel with alpha >= 1/255, nearest first.

    Two passes: what will not be drawn must not be in the graph, where an overflow times a zero gradient would become NaN.
    """
    with torch.no_grad():
        pose = camera.world_to_camera.to(gaussians.means.dtype)
        rows = rows[(gaussians.means[rows] @ pose[2, :3] + pose[2, 3]) > camera.near]
        rows = rows[_visible(*_ellipses(gaussians, camera, options, rows), camera)]
    return _ellipses(gaussians, camera, options, rows)[0]


def _ellipses(gaussians: Gaussians, camera: Camera, options: RasterOptions, rows: Tensor) -> tuple[Splats, Tensor]:
    """The splats of `rows` in that order, and (M,) determinants of their covariances."""
    dtype = gaussians.means.dtype
    pose, K = camera.world_to_camera.to(dtype), camera.K.to(dtype)
    rotation, translation = pose[:3, :3], pose[:3, 3]
    chosen = gaussians.select(rows)
    point = chosen.means @ rotation.T + translation
    z = point[:, 2]
    center = torch.stack([K[0, 0] * point[:, 0] / z + K[0, 2], K[1, 1] * point[:, 1] / z + K[1, 2]], -1)
    row_x, row_y = _screen_axes(chosen, point, rotation, K, camera)
    plain_xx, plain_yy, xy = row_x.square().sum(-1), row_y.square().sum(-1), (row_x * row_y).sum(-1)
    # Cauchy-Binet: det (A A^T) = |row_x x row_y|^2, without the cancellation of xx yy - xy^2.
    plain_det = torch.linalg.cross(row_x, row_y).square().sum(-1)
    det = plain_det + options.dilation * (plain_xx + plain_yy + options.dilation)
    xx, yy = plain_xx + options.dilation, plain_yy + options.dilation
    opacity = chosen.opacity
    if options.antialias:
        opacity = opacity * (plain_det / det).sqrt()
    return Splats(rows, center, torch.stack([yy, -xy, xx], -1) / det[:, None], torch.stack([xx, xy, yy], -1), opacity, z), det


def _screen_axes(gaussians: Gaussians, point: Tensor, rotation: Tensor, K: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Rows of J R M, (N, 3) each: the screen covariance is their Gram matrix."""
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    x, y, z = point.unbind(-1)
    margin_x, margin_y = FRUSTUM_MARGIN * 0.5 * camera.width / fx, FRUSTUM_MARGIN * 0.5 * camera.height / fy
    ux = (x / z).clamp(-(cx / fx + margin_x), (camera.width - cx) / fx + margin_x)
    uy = (y / z).clamp(-(cy / fy + margin_y), (camera.height - cy) / fy + margin_y)
    axes = rotation @ (rotation_of(gaussians.quat_wxyz) * gaussians.scale[:, None, :])
    row_x = (fx / z)[:, None] * (axes[:, 0] - ux[:, None] * axes[:, 2])
    row_y = (fy / z)[:, None] * (axes[:, 1] - uy[:, None] * axes[:, 2])
    return row_x, row_y


def _visible(splats: Splats, det: Tensor, camera: Camera) -> Tensor:
    """Indices of the splats that are finite and whose box of alpha >= 1/255 holds a pixel centre, nearest first."""
    finite = torch.isfinite(splats.centers).all(-1) & torch.isfinite(splats.inverse).all(-1) & torch.isfinite(splats.covariance).all(-1)
    extent = extents(splats)
    low, high = splats.centers - extent, splats.centers + extent
    size = splats.centers.new_tensor([camera.width, camera.height])
    keep = finite & (det > 0) & (splats.opacity >= MIN_ALPHA) & (high >= 0.5).all(-1) & (low <= size - 0.5).all(-1)
    index = torch.nonzero(keep)[:, 0]
    return index[torch.argsort(splats.depth[index], stable=True)]


def extents(splats: Splats) -> Tensor:
    """(M, 2) half sizes, in pixels, of the box around alpha >= 1/255."""
    reach = 2 * torch.log((splats.opacity / MIN_ALPHA).clamp(min=1)) * 1.0001 + 1e-5
    return (reach[:, None] * splats.covariance[:, [0, 2]]).sqrt()
