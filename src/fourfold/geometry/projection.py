"""Pinhole projection. Pixel centres at +0.5, depth along the optical axis."""

from __future__ import annotations

import torch
from torch import Tensor

from fourfold.geometry.rigid import apply_rigid

SMALLEST_DEPTH = 1e-8


def project(points: Tensor, K: Tensor, world_to_camera: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (..., 2) and depths (...) of world points (..., 3).

    Args:
        K: (3, 3) for all points or (..., 3, 3), pixels.
        world_to_camera: (4, 4) or (..., 4, 4).

    Where the depth is not positive the pixel means nothing (it is finite all the same).
    """
    return project_camera_points(apply_rigid(world_to_camera, points), K)


def project_camera_points(points: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (..., 2) and depths (...) of points (..., 3) in camera axes; see `project`."""
    depth = points[..., 2]
    near_zero = depth.abs() < SMALLEST_DEPTH
    divisor = torch.where(near_zero, torch.full_like(depth, SMALLEST_DEPTH), depth)
    flat = torch.stack([points[..., 0] / divisor, points[..., 1] / divisor, torch.ones_like(depth)], dim=-1)
    pixels = flat @ K.T if K.ndim == 2 else (K @ flat[..., None]).squeeze(-1)
    return pixels[..., :2], depth


def unproject(pixels: Tensor, depth: Tensor, K: Tensor, world_to_camera: Tensor) -> Tensor:
    """(..., 3) world points at `depth` (...) along the optical axis behind `pixels` (..., 2); cameras as in `project`."""
    points = camera_rays(pixels, K) * depth[..., None] - world_to_camera[..., :3, 3]
    rotation = world_to_camera[..., :3, :3]
    return points @ rotation if rotation.ndim == 2 else (rotation.transpose(-1, -2) @ points[..., None]).squeeze(-1)


def camera_rays(pixels: Tensor, K: Tensor) -> Tensor:
    """(..., 3) directions in camera axes with z = 1 through `pixels` (..., 2)."""
    homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)
    inverse = torch.linalg.inv(K)
    return homogeneous @ inverse.T if K.ndim == 2 else (inverse @ homogeneous[..., None]).squeeze(-1)


def pixel_grid(height: int, width: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Tensor:
    """(H, W, 2) x and y of all pixel centres; the first is (0.5, 0.5)."""
    y = torch.arange(height, dtype=dtype, device=device) + 0.5
    x = torch.arange(width, dtype=dtype, device=device) + 0.5
    return torch.stack([x[None, :].expand(height, width), y[:, None].expand(height, width)], dim=-1)


def scale_intrinsics(K: Tensor, factor_x: float, factor_y: float) -> Tensor:
    """(..., 3, 3) intrinsics for an image resized by these factors (new size / old size): rows times the factors, as centres are at +0.5."""
    return K * torch.tensor([factor_x, factor_y, 1.0], dtype=K.dtype, device=K.device)[:, None]
