"""A scene drawn as pictures, and how fast they are to be played."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.export.films import write_gif, write_webm
from fourfold.export.options import ExportOptions, views
from fourfold.export.paths import View
from fourfold.export.video import to_uint8, write_mp4, write_pngs
from fourfold.render.api import rasterize
from fourfold.scene.scene import Scene


def export_mp4(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """A video along the camera path, at the speed at which it was filmed."""
    if options.alpha:
        raise FourfoldError("MP4 has no transparency: export webm, gif or png instead")
    write_mp4(out, *_film(scene, capture, options))


def export_webm(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """The same as WebM, which keeps transparency."""
    write_webm(out, *_film(scene, capture, options))


def export_gif(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """The same as GIF."""
    write_gif(out, *_film(scene, capture, options))


def export_pngs(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """A picture per camera of the path."""
    write_pngs(out, _film(scene, capture, options)[0])


def _film(scene: Scene, capture: Capture, options: ExportOptions) -> tuple[Iterator[NDArray[np.uint8]], float]:
    """Frames along the camera path, and how many a second."""
    seen = views(scene, capture, options)
    times = np.array([time for time, _ in seen])
    look = draw_alpha if options.alpha else draw
    return (look(scene, view) for view in seen), frame_rate(times if times[-1] > times[0] else capture.timestamps)


def draw_alpha(scene: Scene, view: View) -> NDArray[np.uint8]:
    """(H, W, 4) image of `scene` without its background: colours as if nothing were before or behind, and opacity."""
    time, camera = view
    with torch.no_grad():
        gaussians = scene.at(time)
        drawn = rasterize(gaussians, replace(camera.to(gaussians.means.device), near=scene.near), background=torch.zeros(3).to(gaussians.means))
        return to_uint8(torch.cat([drawn.color / drawn.alpha[..., None].clamp_min(1e-6), drawn.alpha[..., None]], dim=-1))


def draw(scene: Scene, view: View) -> NDArray[np.uint8]:
    """(H, W, 3) image of `scene` at the time and through the camera of `view`, over the scene's background."""
    time, camera = view
    with torch.no_grad():
        gaussians = scene.at(time)
        background = gaussians.means.new_tensor(scene.background)
        camera = replace(camera.to(gaussians.means.device), near=scene.near)
        return to_uint8(rasterize(gaussians, camera, background=background).color)


def frame_rate(times: NDArray[np.float64]) -> float:
    """Frames per second that play `times` (seconds) at their own speed, between 1 and 60; 10 where there is nothing to tell it by."""
    if len(times) < 2 or times[-1] <= times[0]:
        return 10.0
    return float(np.clip((len(times) - 1) / (times[-1] - times[0]), 1.0, 60.0))
