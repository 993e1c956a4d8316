"""Pictures and trails that a page carries beside the scene: its first moment, a strip of moments, and where points of what moves go."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.export.paths import camera_between
from fourfold.export.video import to_uint8
from fourfold.pages import jpeg_address
from fourfold.render.api import rasterize
from fourfold.scene.scene import Scene
from fourfold.splats.drawn import morton_order
from fourfold.viewer.packing.blocks import Block

POSTER_SIDE, STRIP_HEIGHT, STRIP_PICTURES = 640, 68, 12  # pixels, pixels, pictures
QUALITY = 70
TRAILS, TRAIL_MOMENTS = 150, 48
FIRM = 0.4  # opacity of what a trail may belong to
TRAIL_STEPS = 16000  # of the longest coordinate


def poster(scene: Scene, capture: Capture, view: int) -> str:
    """The first moment as the page shows it, a data URL."""
    return jpeg_address(_drawn(scene, capture, view, scene.time_range[0], POSTER_SIDE), QUALITY)


def strip(scene: Scene, capture: Capture, view: int) -> str:
    """Moments from the first to the last side by side, a data URL."""
    width, height = (int(n) for n in capture.sizes[view])
    side = STRIP_HEIGHT * max(1.0, width / height)
    begin, end = scene.time_range
    times = [begin + (end - begin) * (k + 0.5) / STRIP_PICTURES for k in range(STRIP_PICTURES)]
    return jpeg_address(np.concatenate([_drawn(scene, capture, view, time, side) for time in times], axis=1), QUALITY)


def _drawn(scene: Scene, capture: Capture, view: int, time: float, side: float) -> NDArray[np.uint8]:
    camera = camera_between(capture, view, time)
    camera = replace(camera.scaled(min(1.0, side / max(camera.width, camera.height))), near=scene.near)
    with torch.no_grad():
        return to_uint8(rasterize(scene.at(time), camera, background=torch.tensor(scene.background)).color)


def write_trails(block: Block, scene: Scene) -> None:
    """Tables trails.times, .step, .points (T, 3 M) whole steps and .seen (T, M) of up to `TRAILS` points of what moves; none where nothing does."""
    moving = scene.dynamic_rows() > 0
    times = torch.linspace(scene.time_range[0], scene.time_range[1], TRAIL_MOMENTS)
    if not bool(moving.any()):
        return
    # twice through the moments, which a long film could not hold all at once
    seen = torch.stack([_firm(scene, time, moving)[1] for time in times])
    long = torch.nonzero(seen.sum(0) >= max(2, int(seen.sum(0).max()) // 2))[:, 0]
    if not len(long):
        return
    long = long[morton_order(_firm(scene, times[0], moving)[0][long].nan_to_num())]
    rows = long[torch.linspace(0, len(long) - 1, min(len(long), TRAILS)).long()]
    seen = seen[:, rows]
    points = torch.stack([_firm(scene, time, moving)[0][rows] for time in times])
    points = torch.where(seen[..., None], points, torch.zeros_like(points))
    step = float(points.abs().max().clamp_min(1e-6)) / TRAIL_STEPS
    block.floats("trails.times", times.numpy())
    block.floats("trails.step", np.array([step]))
    block.integers("trails.points", (points / step).round().flatten(1).cpu().numpy())
    block.integers("trails.seen", seen.cpu().numpy())


def _firm(scene: Scene, time: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
    """(N, 3) positions at `time` of the rows `moving`, and (N,) bool: which of them are there and hardly transparent."""
    with torch.no_grad():
        there = scene.at(float(time)).select(moving)
    return there.means, (there.opacity > FIRM) & there.means.isfinite().all(1)
