"""Points from pixels in several views: linear start, robust refinement, and the numbers that tell whether to trust it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fourfold.geometry.projection import camera_rays, project, project_camera_points
from fourfold.geometry.rigid import apply_rigid


@dataclass(frozen=True)
class TriangulationConfig:
    """Numbers of the refinement.

    Attributes:
        iterations: Gauss-Newton steps.
        robust_pixels: residual at which an observation begins to lose weight (Cauchy), pixels; raise it for coarse tracks.
        damping: added to the normal matrix, relative to its trace; keeps points with hardly any parallax from running away.
    """

    iterations: int = 8
    robust_pixels: float = 2.0
    damping: float = 1e-9


@dataclass(frozen=True)
class Triangulation:
    """P triangulated points, float64.

    Attributes:
        points: (P, 3) world.
        error: (P,) weighted mean distance in pixels between the observations and the projected point.
        parallax: (P,) largest angle between two of the observing rays, radians.
        in_front: (P,) bool, the point lies before every camera that observed it, and at least two did.
    """

    points: Tensor
    error: Tensor
    parallax: Tensor
    in_front: Tensor


def triangulate(
    xy: Tensor, K: Tensor, world_to_camera: Tensor, weights: Tensor | None = None, config: TriangulationConfig = TriangulationConfig()
) -> Triangulation:
    """Triangulate P points seen in V views, in float64.

    Args:
        xy: (P, V, 2) pixels; what has weight 0 is not read (it may be NaN).
        K: (V, 3, 3) or (P, V, 3, 3).
        world_to_camera: (V, 4, 4) or (P, V, 4, 4).
        weights: (P, V), not negative, 0 where a point was not observed; 1 if None.
    """
    weights = torch.ones_like(xy[..., 0]).double() if weights is None else weights.double()
    xy = torch.where(weights[..., None] > 0, xy, torch.zeros_like(xy)).double()
    intrinsics, world_to_camera = K.double(), world_to_camera.double()
    points = _linear(xy, intrinsics, world_to_camera, weights)
    for _ in range(config.iterations):
        points = points + _step(points, xy, intrinsics, world_to_camera, weights, config)
    pixels, depth = project(points[:, None, :], intrinsics, world_to_camera)
    distance = (pixels - xy).norm(dim=-1)
    error = (weights * distance).sum(-1) / weights.sum(-1).clamp_min(torch.finfo(torch.float64).tiny)
    seen = weights > 0
    in_front = torch.where(seen, depth > 0, True).all(-1) & (seen.sum(-1) >= 2)
    return Triangulation(points, error, _parallax(points, world_to_camera, seen), in_front)


def camera_centers(world_to_camera: Tensor) -> Tensor:
    """(..., 3) camera centres in the world of (..., 4, 4)."""
    return -(world_to_camera[..., :3, :3].transpose(-1, -2) @ world_to_camera[..., :3, 3:]).squeeze(-1)


def _linear(xy: Tensor, K: Tensor, world_to_camera: Tensor, weights: Tensor) -> Tensor:
    """(P, 3) by the direct linear transform in normalised image coordinates, with the world moved to the cameras and scaled by their spread."""
    centers = camera_centers(world_to_camera)
    flat = centers.reshape(-1, 3)
    origin = flat.mean(0)
    spread = (flat - origin).norm(dim=-1).mean()
    unit = torch.where(spread > 1e-12, spread, torch.ones_like(spread))
    rays = camera_rays(xy, K)
    rotation = world_to_camera[..., :3, :3]
    translation = (world_to_camera[..., :3, 3] + (rotation @ origin[:, None]).squeeze(-1)) / unit
    rows = torch.cat([rotation, translation[..., None]], dim=-1)
    equations = torch.stack([rays[..., :1] * rows[..., 2, :] - rows[..., 0, :], rays[..., 1:2] * rows[..., 2, :] - rows[..., 1, :]], dim=-2)
    equations = (weights.sqrt()[..., None, None] * equations).flatten(-3, -2)
    solution = torch.linalg.eigh(equations.transpose(-1, -2) @ equations).eigenvectors[..., 0]
    last = solution[..., 3:]
    last = torch.where(last.abs() < 1e-12, torch.full_like(last, 1e-12), last)
    return solution[..., :3] / last * unit + origin


def _step(points: Tensor, xy: Tensor, K: Tensor, world_to_camera: Tensor, weights: Tensor, config: TriangulationConfig) -> Tensor:
    """(P, 3) one Gauss-Newton step of the reprojection error under a Cauchy loss."""
    local = apply_rigid(world_to_camera.expand(*xy.shape[:2], 4, 4), points[:, None, :])
    pixels, depth = project_camera_points(local, K.expand(*xy.shape[:2], 3, 3))
    residual = pixels - xy
    inverse_depth = 1.0 / torch.where(depth.abs() < 1e-8, torch.full_like(depth, 1e-8), depth)
    flat = local * inverse_depth[..., None]
    by_local = torch.diag_embed(torch.ones_like(local)) - torch.cat(
        [torch.zeros_like(flat)[..., None], torch.zeros_like(flat)[..., None], flat[..., None]], dim=-1
    )
    jacobian = (K[..., :2, :] @ (inverse_depth[..., None, None] * by_local)) @ world_to_camera[..., :3, :3]
    robust = weights / (1.0 + residual.square().sum(-1) / config.robust_pixels**2)
    weighted = jacobian * robust[..., None, None]
    normal = torch.einsum("pvri,pvrj->pij", weighted, jacobian)
    trace = normal.diagonal(dim1=-2, dim2=-1).sum(-1).clamp_min(1e-30)
    damped = normal + (config.damping * trace)[:, None, None] * torch.eye(3, dtype=normal.dtype, device=normal.device)
    step = -torch.linalg.solve(damped, torch.einsum("pvri,pvr->pi", weighted, residual)[..., None]).squeeze(-1)
    limit = 0.5 * (points[:, None, :] - camera_centers(world_to_camera)).norm(dim=-1).amin(-1)
    return step * (limit / step.norm(dim=-1).clamp_min(1e-30)).clamp_max(1.0)[:, None]


def _parallax(points: Tensor, world_to_camera: Tensor, seen: Tensor) -> Tensor:
    directions = torch.nn.functional.normalize(points[:, None, :] - camera_centers(world_to_camera), dim=-1)
    widest = torch.zeros_like(points[:, 0])
    for view in range(directions.shape[1]):
        one = directions[:, view : view + 1]
        angle = torch.atan2(torch.linalg.cross(one.expand_as(directions), directions).norm(dim=-1), (one * directions).sum(-1))
        both = seen & seen[:, view : view + 1]
        widest = torch.maximum(widest, torch.where(both, angle, torch.zeros_like(angle)).amax(-1))
    return widest
