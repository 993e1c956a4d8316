"""A film along keyframes that somebody sets while looking: written as MP4, with the path as JSON beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError
from fourfold.export.keyed_path import as_entries, through_keyframes
from fourfold.export.paths import View
from fourfold.export.video import write_mp4
from fourfold.files import write_json
from fourfold.live.cameras import Pose
from fourfold.live.numbers import within
from fourfold.live.viewer import LiveViewer

if TYPE_CHECKING:
    from viser import GuiEvent

FPS = 30
MOST_SECONDS = 600.0
WIDEST = 3840  # pixels


class FilmPanel:
    """Keyframes of camera and time, and the film through them."""

    def __init__(self, viewer: LiveViewer) -> None:
        self.viewer, self.keys, gui = viewer, list[tuple[float, Pose]](), viewer.server.gui
        with gui.add_folder("Film", expand_by_default=False):
            self.count = gui.add_text("Keyframes", "0", disabled=True)
            add = gui.add_button("Add keyframe", hint="This camera at this time")
            clear = gui.add_button("Forget keyframes")
            self.seconds = gui.add_number("Length, seconds", 4.0, min=0.1, max=MOST_SECONDS, step=0.1)
            self.width = gui.add_number("Longest side", 960, min=16, max=WIDEST, step=2)
            write = gui.add_button("Write MP4")
        self._writing = False
        clear.on_click(lambda _: viewer.ask(self._clear))
        write.on_click(lambda _: viewer.ask(self._write))

        @add.on_click
        def _(event: GuiEvent[Any]) -> None:
            viewer.ask(lambda: self._add(viewer.pose_of(event.client)))

    def _add(self, pose: Pose) -> None:
        self.keys.append((self.viewer.clock.time, pose))
        self.count.value = str(len(self.keys))

    def _clear(self) -> None:
        self.keys.clear()
        self.count.value = "0"

    def _write(self) -> None:
        if self._writing:
            raise FourfoldError("a film is being written: wait for its end")
        seconds, side = within(self.seconds.value, 0.1, MOST_SECONDS), int(within(self.width.value, 16, WIDEST))
        keys = [(time, pose.camera(side)) for time, pose in self.keys]
        path = through_keyframes(keys, max(round(seconds * FPS), 1))
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
