"""Following pixels through a scene: spec shape_of_motion.md section 7, made exact at the query pixel.

The published formula blends the positions of all Gaussians; there a track starts at the blended centres, up to a Gaussian's size beside
the pixel, and what shines through slows it down. Here a track starts on the ray of its pixel at the rendered depth, and what is blended
is the displacement, of the moving Gaussians alone where they make up most of the pixel; elsewhere the point stands still.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fourfold.export.paths import View
from fourfold.export.tracks import PointTracks
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.projection import project, unproject
from fourfold.render.api import RasterOptions, Render, rasterize
from fourfold.scene.scene import Scene

MOST_CHANNELS = 64  # of one call of the rasterizer
MEDIAN = RasterOptions(depth="median")  # at soft edges one surface or the other, never a mixture of depths
Rasterize = Callable[..., Render]


@dataclass(frozen=True)
class TrackingConfig:
    """Numbers of point tracking.

    Attributes:
        depth_tolerance: a point counts as hidden where the scene rendered at the target lies nearer by more than this fraction of the
            point's depth; raise it for blurry scenes.
        smallest_alpha: a query pixel with less accumulated opacity has no point: its visibility is 0 everywhere.
    """

    depth_tolerance: float = 0.05
    smallest_alpha: float = 0.2


def track_points(
    scene: Scene,
    query: View,
    pixels: Tensor,
    targets: Sequence[View],
    rasterize_fn: Rasterize = rasterize,
    config: TrackingConfig = TrackingConfig(),
) -> PointTracks:
    """Follow P pixels of one (seconds, camera) to other moments and cameras.

    Args:
        query: time and camera in which the pixels are given.
        pixels: (P, 2), centres at +0.5.
        targets: T times and cameras.
        rasterize_fn: `fourfold.rasterize` or something of its form.

    Returns:
        `PointTracks` with xy, xyz and visibility 0 or 1.
    """
    with torch.no_grad():
        pixels = pixels.to(scene.layers[0].splats["means"])
        world, alpha = world_paths(scene, query, pixels, [time for time, _ in targets], rasterize_fn)
        xy, visibility = [], []
        for index, (time, camera) in enumerate(targets):
            point, depth = project(world[:, index], camera.K.to(world), camera.world_to_camera.to(world))
            rendered = rasterize_fn(scene.at(time), _near(camera, scene), options=MEDIAN)
            surface, covered = nearest(rendered.depth, point), nearest(rendered.alpha, point) >= config.smallest_alpha
            hidden = covered & (surface > 0) & (surface < depth * (1.0 - config.depth_tolerance))
            inside = (point >= 0).all(-1) & (point[:, 0] <= camera.width) & (point[:, 1] <= camera.height)
            visibility.append((~hidden & inside & (depth > scene.near) & (alpha >= config.smallest_alpha)).float())
            xy.append(point)
    times = torch.tensor([time for time, _ in targets], dtype=torch.float64)
    columns = (world, torch.stack(visibility, dim=1), torch.stack(xy, dim=1))
    xyz, seen, flat = (value.float().cpu().numpy() for value in columns)
    return PointTracks(times.numpy(), xyz, seen, flat)


def world_paths(scene: Scene, query: View, pixels: Tensor, times: Sequence[float], rasterize_fn: Rasterize = rasterize) -> tuple[Tensor, Tensor]:
    """Where the points seen at `pixels` (P, 2) of one (seconds, camera) are in the world at each of T `times`, (P, T, 3), and how opaque the
    scene is there, (P,)."""
    with torch.no_grad():
        pixels = pixels.to(scene.layers[0].splats["means"])
        start, alpha, moving = _start(scene, query, pixels, rasterize_fn)
        shift = _displacements(scene, query, pixels, times, rasterize_fn)
        return start[:, None] + torch.where(moving[:, None, None], shift, torch.zeros_like(shift)), alpha


def sample(image: Tensor, xy: Tensor) -> Tensor:
    """(P, C) bilinear values of `image` (H, W, C) at `xy` (P, 2) pixels, centres at +0.5; outside the border value is repeated."""
    height, width = image.shape[:2]
    grid = xy / xy.new_tensor([width, height]) * 2 - 1
    values = torch.nn.functional.grid_sample(
        image.permute(2, 0, 1)[None], grid[None, None].to(image.dtype), mode="bilinear", padding_mode="border", align_corners=False
    )
    return values[0, :, 0].T


def nearest(image: Tensor, xy: Tensor) -> Tensor:
    """(P,) values of `image` (H, W) at the pixels that hold `xy` (P, 2); outside the border value is repeated."""
    column, row = xy.floor().nan_to_num().long().unbind(-1)
    return image[row.clamp(0, image.shape[0] - 1), column.clamp(0, image.shape[1] - 1)]


def _start(scene: Scene, query: View, pixels: Tensor, rasterize_fn: Rasterize) -> tuple[Tensor, Tensor, Tensor]:
    """World points (P, 3) behind `pixels`, the accumulated opacity (P,), and whether most of it moves (P,).

    The depth is that of the moving or of the still Gaussians, whichever make up most of the pixel: no mixture at soft edges.
    """
    gaussians, camera = scene.at(query[0]), _near(query[1], scene)
    moving = scene.dynamic_rows()
    _, depth = project(gaussians.means, camera.K.to(moving), camera.world_to_camera.to(moving))
    channels = torch.stack([moving, moving * depth, (1 - moving) * depth], dim=1)
    alpha, (share, near_moving, near_still) = _blend(gaussians, camera, channels, pixels, rasterize_fn)
    mostly = share > 0.5 * alpha
    depth = torch.where(mostly, near_moving / share.clamp_min(1e-6), near_still / (alpha - share).clamp_min(1e-6))
    return unproject(pixels.to(depth), depth, camera.K.to(depth), camera.world_to_camera.to(depth)), alpha, mostly


def _displacements(scene: Scene, query: View, pixels: Tensor, times: Sequence[float], rasterize_fn: Rasterize) -> Tensor:
    """(P, T, 3) how far the moving Gaussians seen at `pixels` are from where they were, at each of `times`."""
    gaussians, camera = scene.at(query[0]), _near(query[1], scene)
    moving = scene.dynamic_rows()[:, None]
    shift = torch.cat([(g.means - gaussians.means) * moving for g in scene.at_times(list(times))], dim=1)
    per_call, pieces = (MOST_CHANNELS - 1) // 3 * 3, []
    for start in range(0, shift.shape[1], per_call):
        channels = torch.cat([moving, shift[:, start : start + per_call]], dim=1)
        _, blended = _blend(gaussians, camera, channels, pixels, rasterize_fn)
        pieces.append(blended[1:] / blended[0].clamp_min(1e-6))
    return torch.cat(pieces).T.unflatten(1, (len(times), 3))


def _blend(gaussians: Gaussians, camera: Camera, channels: Tensor, pixels: Tensor, rasterize_fn: Rasterize) -> tuple[Tensor, Tensor]:
    """Accumulated opacity (P,) and blended channels (C, P) at `pixels`."""
    rendered = rasterize_fn(gaussians, camera, channels=channels)
    if rendered.channels is None:
        raise RuntimeError("the rasterizer returned no channels though it was given some")
    return sample(rendered.alpha[..., None], pixels)[:, 0], sample(rendered.channels, pixels).T


def _near(camera: Camera, scene: Scene) -> Camera:
    like = scene.layers[0].splats["means"]
    return replace(camera.to(like.device), near=scene.near)
