"""A scene drawn as pictures, and how fast they are to be played."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.export.options import ExportOptions, views
from fourfold.export.paths import View
from fourfold.export.video import to_uint8, write_mp4, write_pngs
from fourfold.render.api import rasterize
from fourfold.scene.scene import Scene


def export_mp4(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """A video along the camera path, at the speed at which it was filmed."""
    seen = views(scene, capture, options)
    times = np.array([time for time, _ in seen])
    write_mp4(out, (draw(scene, view) for view in seen), frame_rate(times if times[-1] > times[0] else capture.timestamps))


def export_pngs(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """A picture per camera of the path."""
    write_pngs(out, (draw(scene, view) for view in views(scene, capture, options)))


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
