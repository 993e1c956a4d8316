"""Following pixels through a scene: spec shape_of_motion.md section 7, with the rendered positions divided by alpha."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fourfold.export.paths import View
from fourfold.export.tracks import PointTracks
from fourfold.geometry.camera import Camera
from fourfold.geometry.projection import project, unproject
from fourfold.render.api import Render, rasterize
from fourfold.scene.scene import Scene

MOST_CHANNELS = 64  # of one call of the rasterizer
Rasterize = Callable[..., Render]


@dataclass(frozen=True)
class TrackingConfig:
    """Numbers of point tracking.

    Attributes:
        depth_tolerance: a point counts as hidden where the scene rendered at the target lies nearer by more than this fraction of the
            point's depth; raise it for blurry scenes.
        smallest_alpha: a query pixel with less accumulated opacity has no point: its visibility is 0 everywhere.
        anchor: start at the query pixel itself, at the rendered depth, and add only the displacement of what is blended there. Without
            it a track starts at the blended centres, up to the size of a Gaussian beside the pixel (the published formula).
    """

    depth_tolerance: float = 0.05
    smallest_alpha: float = 0.2
    anchor: bool = True


def track_points(
    scene: Scene,
    query: View,
    pixels: Tensor,
    targets: Sequence[View],
    rasterize_fn: Rasterize = rasterize,
    config: TrackingConfig = TrackingConfig(),
) -> PointTracks:
    """Follow P pixels of one (seconds, camera) to other moments and cameras.

    The positions of all Gaussians at the target times are blended into the query image like colours, divided by alpha, and read at the
    query pixels: the surface seen there moves along with what it consists of.

    Args:
        query: time and camera in which the pixels are given.
        pixels: (P, 2), centres at +0.5.
        targets: T times and cameras.
        rasterize_fn: `fourfold.rasterize` or something of its form.

    Returns:
        `PointTracks` with xy, xyz and visibility 0 or 1.
    """
    with torch.no_grad():
        world, alpha = _positions(scene, query, pixels, [query[0], *(time for time, _ in targets)], rasterize_fn)
        start, world = world[:, :1], world[:, 1:]
        if config.anchor:
            world = world - start + _surface(scene, query, pixels, rasterize_fn)[:, None]
        xy, visibility = [], []
        for index, (time, camera) in enumerate(targets):
            point, depth = project(world[:, index], camera.K.to(world), camera.world_to_camera.to(world))
            rendered = rasterize_fn(scene.at(time), _near(camera, scene))
            surface = sample(rendered.depth[..., None], point)[:, 0]
            covered = sample(rendered.alpha[..., None], point)[:, 0] >= config.smallest_alpha
            hidden = covered & (surface < depth * (1.0 - config.depth_tolerance))
            inside = (point >= 0).all(-1) & (point[:, 0] <= camera.width) & (point[:, 1] <= camera.height)
            visibility.append((~hidden & inside & (depth > scene.near) & (alpha >= config.smallest_alpha)).float())
            xy.append(point)
    times = torch.tensor([time for time, _ in targets], dtype=torch.float64)
    columns = (world, torch.stack(visibility, dim=1), torch.stack(xy, dim=1))
    xyz, seen, flat = (value.float().cpu().numpy() for value in columns)
    return PointTracks(times.numpy(), xyz, seen, flat)


def sample(image: Tensor, xy: Tensor) -> Tensor:
    """(P, C) bilinear values of `image` (H, W, C) at `xy` (P, 2) pixels, centres at +0.5; outside the border value is repeated."""
    height, width = image.shape[:2]
    grid = xy / xy.new_tensor([width, height]) * 2 - 1
    values = torch.nn.functional.grid_sample(
        image.permute(2, 0, 1)[None], grid[None, None].to(image.dtype), mode="bilinear", padding_mode="border", align_corners=False
    )
    return values[0, :, 0].T


def _positions(scene: Scene, query: View, pixels: Tensor, times: Sequence[float], rasterize_fn: Rasterize) -> tuple[Tensor, Tensor]:
    """World positions (P, T, 3) of the surface behind `pixels` at `times`, and the accumulated opacity (P,) there.

    Positions are blended relative to their median: where alpha is small, large numbers would lose precision.
    """
    gaussians, camera = scene.at(query[0]), _near(query[1], scene)
    moved = torch.stack([g.means for g in scene.at_times(list(times))], dim=1)
    origin = gaussians.means.median(dim=0).values
    channels = (moved - origin).flatten(1)
    per_call, pieces = MOST_CHANNELS // 3 * 3, []
    alpha = pixels.new_zeros(len(pixels))
    for start in range(0, channels.shape[1], per_call):
        rendered = rasterize_fn(gaussians, camera, channels=channels[:, start : start + per_call].contiguous())
        if rendered.channels is None:
            raise RuntimeError("the rasterizer returned no channels though it was given some")
        alpha = sample(rendered.alpha[..., None], pixels)[:, 0]
        pieces.append(sample(rendered.channels, pixels))
    blended = torch.cat(pieces, dim=1) / alpha.clamp_min(1e-6)[:, None]
    return blended.unflatten(1, (len(times), 3)) + origin, alpha


def _surface(scene: Scene, query: View, pixels: Tensor, rasterize_fn: Rasterize) -> Tensor:
    """(P, 3) world points at the rendered depth behind `pixels`."""
    camera = _near(query[1], scene)
    depth = sample(rasterize_fn(scene.at(query[0]), camera).depth[..., None], pixels)[:, 0]
    return unproject(pixels.to(depth), depth, camera.K.to(depth), camera.world_to_camera.to(depth))


def _near(camera: Camera, scene: Scene) -> Camera:
    like = scene.layers[0].splats["means"]
    return replace(camera.to(like.device), near=scene.near)
