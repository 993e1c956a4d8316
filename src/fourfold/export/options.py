"""What an export is asked for, and which moments and cameras that means."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.export.packing import PackingError
from fourfold.export.paths import PathOptions, View, camera_path
from fourfold.scene.scene import Scene


@dataclass(frozen=True)
class ExportOptions:
    """What to export.

    Attributes:
        time: the moment of formats that hold one moment, seconds; the middle if None.
        frames: moments of formats that hold many; as many as were recorded if None.
        path: the camera path of pictures, videos and cameras.
        alpha: whether pictures and videos are transparent where nothing is.
        path_options: the numbers of the camera path.
    """

    time: float | None = None
    frames: int | None = None
    path: str = "input"
    alpha: bool = False
    path_options: PathOptions = field(default_factory=PathOptions)


class Writer(Protocol):
    """Writes a scene to a file or folder, atomically; what it measured of its loss, None where nothing is lost or pictures are all there is."""

    def __call__(self, scene: Scene, capture: Capture, out: Path, options: ExportOptions, /) -> PackingError | None: ...


def moment(scene: Scene, options: ExportOptions) -> float:
    """The second of formats that hold one. FourfoldError outside the recording."""
    begin, end = scene.time_range
    if options.time is None:
        return 0.5 * (begin + end)
    if not begin <= options.time <= end:
        raise FourfoldError(f"the scene has no second {options.time:g}: it goes from {begin:g} to {end:g} s")
    return options.time


def moments(scene: Scene, capture: Capture, options: ExportOptions) -> NDArray[np.float64]:
    """(T,) the seconds of formats that hold many."""
    return capture.timestamps if options.frames is None else np.linspace(*scene.time_range, options.frames)


def views(scene: Scene, capture: Capture, options: ExportOptions) -> list[View]:
    """(seconds, camera) of every picture."""
    frames = options.frames if options.path_options.frames is None else options.path_options.frames
    return camera_path(options.path, scene, capture, replace(options.path_options, frames=frames))
