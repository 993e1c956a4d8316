"""Every way to hand a scene to somebody: format name -> function. A new format is a new entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.export.paths import PathOptions, View, camera_path
from fourfold.export.ply import write_ply
from fourfold.export.sequence import write_sequence
from fourfold.export.tracks import save_tracks, scene_tracks
from fourfold.export.video import to_uint8, write_mp4, write_pngs
from fourfold.render.api import rasterize
from fourfold.scene.file import save_scene
from fourfold.scene.scene import Scene


@dataclass(frozen=True)
class ExportOptions:
    """What to export.

    Attributes:
        time: the moment of formats that hold one moment, seconds; the middle if None.
        frames: moments of formats that hold many; as many as were recorded if None.
        path: the camera path of pictures and videos.
        path_options: its numbers.
    """

    time: float | None = None
    frames: int | None = None
    path: str = "input"
    path_options: PathOptions = field(default_factory=PathOptions)


@dataclass(frozen=True)
class Format:
    """One format: `write(scene, capture, out, options)`, the name it gets inside `exports/` unless told otherwise, and what it is for."""

    write: Callable[[Scene, Capture, Path, ExportOptions], None]
    default_name: str
    about: str


def export(name: str, scene: Scene, capture: Capture, out: Path, options: ExportOptions = ExportOptions()) -> Path:
    """Write `scene` in the format `name` to `out` (a file, or a folder for sequences), atomically; returns `out`.

    Raises:
        FourfoldError: there is no such format.
    """
    if name not in FORMATS:
        raise FourfoldError(f"there is no export format {name!r}: choose one of {', '.join(FORMATS)}")
    out = Path(out)
    FORMATS[name].write(scene, capture, out, options)
    return out


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


def _times(scene: Scene, capture: Capture, options: ExportOptions) -> NDArray[np.float64]:
    return capture.timestamps if options.frames is None else np.linspace(*scene.time_range, options.frames)


def _path(scene: Scene, capture: Capture, options: ExportOptions) -> list[View]:
    frames = options.frames if options.path_options.frames is None else options.path_options.frames
    return camera_path(options.path, scene, capture, replace(options.path_options, frames=frames))


def _scene(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    save_scene(scene, out)


def _ply(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    middle = 0.5 * (scene.time_range[0] + scene.time_range[1])
    with torch.no_grad():
        write_ply(out, scene.at(middle if options.time is None else options.time))


def _sequence(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    write_sequence(out, scene, _times(scene, capture, options).tolist())


def _tracks(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    save_tracks(out, scene_tracks(scene, _times(scene, capture, options)))


def _mp4(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    views = _path(scene, capture, options)
    times = np.array([time for time, _ in views])
    write_mp4(out, (draw(scene, view) for view in views), frame_rate(times if times[-1] > times[0] else capture.timestamps))


def _png(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    write_pngs(out, (draw(scene, view) for view in _path(scene, capture, options)))


def _html(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    from fourfold.viewer.player import write_player

    write_player(out, scene, capture)


FORMATS: dict[str, Format] = {
    "scene": Format(_scene, "scene.safetensors", "the whole moving scene in one file, for Fourfold"),
    "ply": Format(_ply, "scene.ply", "one moment, for every splat viewer"),
    "ply-sequence": Format(_sequence, "sequence", "a folder of PLY files that SuperSplat plays"),
    "tracks": Format(_tracks, "tracks.npz", "3D trajectories of what moves, for NumPy"),
    "mp4": Format(_mp4, "render.mp4", "a video along a camera path"),
    "png": Format(_png, "frames", "a folder of pictures along a camera path"),
    "html": Format(_html, "player.html", "a player in one file, for any browser"),
}
