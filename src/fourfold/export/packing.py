"""What packing a scene into a file costs: measured between the scene and what the file gives back, in pixels and in decibels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.export.paths import camera_between
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.projection import project
from fourfold.render.api import rasterize
from fourfold.scene.scene import Scene
from fourfold.splats.drawn import INVISIBLE

Held = Callable[[float], tuple[Tensor, Gaussians]]
"""What a file holds at a time: M Gaussians, and (M,) int64 which rows of `scene.at(time)` they stand for."""


@dataclass(frozen=True)
class PackingConfig:
    """How the error is measured.

    Attributes:
        moments: how many times are looked at, spread over the recording and between frames.
        longest_side: of the pictures compared, pixels; positions are measured in pixels of the filmed images.
        most_decibels: what identical pictures count as.
    """

    moments: int = 3
    longest_side: int = 320
    most_decibels: float = 100.0


@dataclass(frozen=True)
class PackingError:
    """What a file lost.

    Attributes:
        pixels: 99 of 100 visible Gaussians lie at most this far from where they belong, pixels of the first filmed camera.
        worst_pixels: the farthest one.
        decibels: PSNR of pictures drawn from the file against pictures drawn from the scene.
    """

    pixels: float
    worst_pixels: float
    decibels: float


def packing_error(
    scene: Scene, capture: Capture, held: Held, times: Sequence[float] | None = None, config: PackingConfig = PackingConfig()
) -> PackingError:
    """The error of a file of `scene`, seen from the first filmed camera at `times` (seconds; a few between the frames by default)."""
    moved: list[Tensor] = [torch.zeros(0)]
    squares: list[float] = []
    with torch.no_grad():
        for time in times if times is not None else moments_between(scene, config.moments):
            truth, (rows, packed) = scene.at(time), held(time)
            camera = replace(camera_between(capture, 0, time).to("cpu"), near=scene.near)
            truth = truth.to("cpu").to(torch.float32).detach()
            moved.append(_shifts(truth.select(rows), packed, camera))
            small = camera.scaled(min(1.0, config.longest_side / max(camera.width, camera.height)))
            background = torch.tensor(scene.background)
            one, two = (rasterize(g, small, background=background).color.clamp(0, 1) for g in (truth, packed))
            squares.append(float((one - two).double().square().mean()))
    shifts = torch.cat(moved)
    error = sum(squares) / max(len(squares), 1)
    decibels = config.most_decibels if error <= 0 else min(config.most_decibels, -10 * math.log10(error))
    if len(shifts) == 0:
        return PackingError(0.0, 0.0, decibels)
    return PackingError(float(torch.quantile(shifts[:: 1 + len(shifts) // 1_000_000], 0.99)), float(shifts.max()), decibels)


def moments_between(scene: Scene, count: int) -> list[float]:
    """`count` times that fall on no regular frame: golden-ratio steps through the recording."""
    begin, end = scene.time_range
    return [begin + (end - begin) * ((0.31 + 0.6180339887 * k) % 1.0) for k in range(count)]


def _shifts(truth: Gaussians, packed: Gaussians, camera: Camera) -> Tensor:
    """(M,) pixels between where Gaussians belong and where they are, of those in the picture that a viewer draws."""
    (right, depth), (wrong, _) = (project(g.means, camera.K.to(g.means), camera.world_to_camera.to(g.means)) for g in (truth, packed))
    inside = (right >= 0).all(-1) & (right < right.new_tensor([camera.width, camera.height])).all(-1)
    return (right - wrong).norm(dim=-1)[inside & (depth > camera.near) & (truth.opacity >= INVISIBLE)]
