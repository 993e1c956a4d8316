"""Edits in the live viewer: each a line, made at once, taken back, and written as a scene file."""

from __future__ import annotations

from pathlib import Path

from fourfold.errors import FourfoldError
from fourfold.export.scene_files import read_scene
from fourfold.live.edited import BACKGROUND, CLEAN, MOVERS, EditLine, crop, freeze, join, one_mover, retime, without
from fourfold.live.film import free_name
from fourfold.live.numbers import corner, within
from fourfold.live.viewer import LiveViewer
from fourfold.scene.edits.parts import movers
from fourfold.scene.file import save_scene

MOST_MOVERS = 10_000
SLOWEST, FASTEST = 0.05, 20.0  # how many times as fast time runs


class EditPanel:
    """Lines that change the scene, those of `fourfold edit`. Where others may look (not `alone`), no file can be named to be joined."""

    def __init__(self, viewer: LiveViewer, alone: bool = True) -> None:
        self.viewer, gui = viewer, viewer.server.gui
        with gui.add_folder("Edit", expand_by_default=False):
            self.done = gui.add_text("Done", "nothing", disabled=True)
            for name, line in (("Background only", BACKGROUND), ("Movers only", MOVERS), ("Drop floaters", CLEAN)):
                gui.add_button(name).on_click(lambda _, line=line: viewer.ask(lambda: self._make(line)))
            gui.add_button("Freeze this time").on_click(lambda _: viewer.ask(lambda: self._make(freeze(viewer.clock.time))))
            self.mover = gui.add_number("Mover", 0, min=0, step=1, hint="Counted from 0, the largest first")
            gui.add_button("Keep this mover").on_click(lambda _: viewer.ask(lambda: self._make(one_mover(self._number(), keep=True))))
            gui.add_button("Drop this mover").on_click(lambda _: viewer.ask(lambda: self._make(one_mover(self._number(), keep=False))))
            low, high = _box(viewer)
            self.low, self.high = gui.add_vector3("Low corner", low, step=0.01), gui.add_vector3("High corner", high, step=0.01)
            gui.add_button("Crop to the box").on_click(
                lambda _: viewer.ask(lambda: self._make(crop(corner(self.low.value), corner(self.high.value))))
            )
            gui.add_button("Drop hidden layers").on_click(lambda _: viewer.ask(self._drop_hidden))
            self.speed = gui.add_number("How fast", 0.5, min=SLOWEST, max=FASTEST, step=0.05, hint="0.5 is slow motion")
            gui.add_button("Change speed").on_click(lambda _: viewer.ask(lambda: self._make(retime(within(self.speed.value, SLOWEST, FASTEST)))))
            if alone:
                self.other = gui.add_text("Other scene", "", hint="A run's folder or a scene file on this machine")
                gui.add_button("Join the other scene").on_click(lambda _: viewer.ask(self._join))
            gui.add_button("Undo").on_click(lambda _: viewer.ask(self._undo))
            gui.add_button("Write scene").on_click(lambda _: viewer.ask(self._write))
        viewer.renewed.append(self._told)

    def _number(self) -> int:
        return int(within(self.mover.value, 0, MOST_MOVERS))

    def _make(self, line: EditLine) -> None:
        self.viewer.edited.add(line)
        self.viewer.changed()

    def _drop_hidden(self) -> None:
        if not self.viewer.hidden:
            raise FourfoldError("no layer is hidden: switch off under Layers what is to go")
        self._make(without(tuple(sorted(self.viewer.hidden))))

    def _join(self) -> None:
        name = str(self.other.value).strip()
        if not name:
            raise FourfoldError("no other scene is named: give a run's folder or a scene file")
        self._make(join(name, read_scene(Path(name))))

    def _undo(self) -> None:
        self.viewer.edited.undo()
        self.viewer.changed()

    def _told(self) -> None:
        self.done.value = ", ".join(line.name for line in self.viewer.edited.lines) or "nothing"

    def _write(self) -> None:
        out = free_name(self.viewer.out, "edited", ".safetensors")
        save_scene(self.viewer.scene, out)
        self.viewer.say("Scene", f"written: {out}; it has {len(movers(self.viewer.scene)[0])} movers")


def _box(viewer: LiveViewer) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """The corners of a box about nine tenths of the scene along each axis."""
    import torch

    with torch.no_grad():
        means = viewer.scene.at(viewer.scene.time_range[0]).means.double().cpu()
        sample = means[:: 1 + len(means) // 100_000]
        low, high = (torch.quantile(sample, q, dim=0).tolist() for q in (0.05, 0.95))
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])
