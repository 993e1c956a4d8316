"""A film along keyframes that somebody set while looking, or along a filmed path: written as MP4, with the path as JSON beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError
from fourfold.export.keyed_path import as_entries, through_keyframes
from fourfold.export.paths import PathOptions, View, camera_path
from fourfold.export.speed import at_speed_of
from fourfold.export.video import write_mp4
from fourfold.files import write_json
from fourfold.live.cameras import Pose, nearest_filmed
from fourfold.live.keyframes import KeyframeList
from fourfold.live.numbers import within
from fourfold.live.viewer import LiveViewer

if TYPE_CHECKING:
    from viser import GuiEvent

FPS = 30
MOST_SECONDS = 600.0
WIDEST = 3840  # pixels
KEYED = "Keyframes"
PATHS = {"Filmed path": "input", "Filmed path, steadied": "steady", "Orbit": "orbit", "Bullet time": "bullet-time", "Turntable": "turntable"}


class FilmPanel:
    """The film along keyframes or along a path of the filmed cameras."""

    def __init__(self, viewer: LiveViewer) -> None:
        self.viewer, gui = viewer, viewer.server.gui
        with gui.add_folder("Film", expand_by_default=False):
            self.keyframes = KeyframeList(viewer)
            paths = (KEYED, *PATHS) if viewer.capture is not None else (KEYED,)
            self.along = gui.add_dropdown("Along", paths, initial_value=KEYED, hint="Other paths follow the nearest filmed camera")
            self.seconds = gui.add_number("Length, seconds", 4.0, min=0.1, max=MOST_SECONDS, step=0.1)
            self.width = gui.add_number("Longest side", 960, min=16, max=WIDEST, step=2)
            write = gui.add_button("Write MP4")
        self._writing = False

        @write.on_click
        def _(event: GuiEvent[Any]) -> None:
            viewer.ask(lambda: self._write(viewer.pose_of(event.client)))

    def _path(self, frames: int, side: int, pose: Pose) -> list[View]:
        """The cameras of the film, `side` pixels at their longest; paths of filmed cameras follow the one nearest to `pose`."""
        viewer, name = self.viewer, str(self.along.value)
        if viewer.capture is None or name not in PATHS:
            return through_keyframes([(time, key.camera(side)) for time, key in self.keyframes.keys], frames)
        capture = at_speed_of(viewer.scene, viewer.capture)
        nearest = nearest_filmed(capture, viewer.clock.time, pose)
        options = PathOptions(frames=frames, view=0 if nearest is None else nearest[0])
        path = camera_path(PATHS[name], viewer.scene, capture, options)
        return [(time, camera.scaled(side / max(camera.width, camera.height))) for time, camera in path]

    def _write(self, pose: Pose) -> None:
        if self._writing:
            raise FourfoldError("a film is being written: wait for its end")
        seconds, side = within(self.seconds.value, 0.1, MOST_SECONDS), int(within(self.width.value, 16, WIDEST))
        path = self._path(max(round(seconds * FPS), 1), side, pose)
        out = free_name(self.viewer.out, "film", ".mp4")
        self._writing = True
        try:
            self.viewer.say("Film", f"{len(path)} pictures are drawn")
            write_mp4(out, self._drawn(path), FPS)
            write_json(out.with_suffix(".json"), as_entries(path))
        finally:
            self._writing = False
        self.viewer.say("Film", f"written: {out}")

    def _drawn(self, path: list[View]) -> Iterator[NDArray[np.uint8]]:
        """The pictures; between them, whoever looks is served."""
        viewer = self.viewer
        for time, camera in path:
            yield viewer.drawer.draw(replace(viewer.look, time=time), camera).image
            viewer.draw_for_all()


def free_name(folder: Path, stem: str, suffix: str) -> Path:
    """`folder`/STEM_N`suffix` with the first number that is not taken; the folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while (path := folder / f"{stem}_{number}{suffix}").exists():
        number += 1
    return path
