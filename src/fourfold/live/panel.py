"""The controls of the live viewer: time, what is shown, and the scene's layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fourfold.live.drawing import COLOURINGS
from fourfold.live.numbers import within
from fourfold.live.viewer import LiveViewer

if TYPE_CHECKING:
    from viser import GuiCheckboxHandle, GuiEvent

SPEEDS = (0.1, 4.0)  # scene seconds a second, slowest and fastest
TICK = 0.15  # seconds between two updates of the slider while a scene plays
MOST_LAYERS = 24  # that get a line of their own


class TimePanel:
    """Time slider, play, speed, loop."""

    def __init__(self, viewer: LiveViewer) -> None:
        self.viewer, gui = viewer, viewer.server.gui
        begin, end = viewer.scene.time_range
        with gui.add_folder("Time"):
            self.slider = gui.add_slider("Seconds", begin, max(end, begin + 1e-3), _step(begin, end), begin, disabled=end <= begin)
            play = gui.add_checkbox("Play", False, disabled=end <= begin)
            speed = gui.add_slider("Speed", *SPEEDS, 0.1, 1.0)
            loop = gui.add_checkbox("Loop", True)
        self.play = play
        self._shown, self._pulled = -1.0, False

        # Values are read at once, which the library does for coroutines alone: in its threads the clock may have been shown again meanwhile.
        @self.slider.on_update
        async def _(event: GuiEvent[Any]) -> None:
            if event.client is not None:
                value = self.slider.value
                viewer.ask(lambda: self._pull(value))

        @play.on_update
        async def _(event: GuiEvent[Any]) -> None:
            if event.client is not None:
                plays = play.value
                viewer.ask(lambda: setattr(viewer.clock, "playing", plays))

        speed.on_update(lambda _: viewer.ask(lambda: setattr(viewer.clock, "speed", within(speed.value, *SPEEDS))))
        loop.on_update(lambda _: viewer.ask(lambda: setattr(viewer.clock, "loop", loop.value)))
        viewer.moved_on.append(self._follow)
        viewer.renewed.append(self._renew)

    def _pull(self, seconds: float) -> None:
        """Go where somebody has pulled the slider to, and do not pull it back from where it may be by now."""
        self._pulled = True
        try:
            self.viewer.go_to(seconds)
        finally:
            self._pulled = False

    def _follow(self) -> None:
        clock = self.viewer.clock
        if self._pulled:
            return
        if not clock.playing or abs(clock.time - self._shown) >= TICK * abs(clock.speed):
            self._shown = clock.time
            self.slider.value = clock.time
        self.play.value = clock.playing

    def _renew(self) -> None:
        clock = self.viewer.clock
        self.slider.max = max(clock.end, clock.begin + 1e-3)
        self.slider.min = clock.begin
        self.slider.value = clock.time


class ShownPanel:
    """What is drawn: colours, depth and so on; which layers; and of what the scene consists."""

    def __init__(self, viewer: LiveViewer) -> None:
        self.viewer, gui = viewer, viewer.server.gui
        with gui.add_folder("Shown"):
            self.about = gui.add_text("Scene", self._sentence(), disabled=True)
            colouring = gui.add_dropdown("As", COLOURINGS, initial_value=COLOURINGS[0])
            self.layers = gui.add_folder("Layers")
        self._boxes: dict[str, GuiCheckboxHandle] = {}
        self._list_layers()
        colouring.on_update(lambda _: viewer.ask(lambda: viewer.show_as(colouring.value)))
        viewer.renewed.append(self._renew)

    def _sentence(self) -> str:
        count = sum(len(layer) for layer in self.viewer.scene.layers)
        return f"{self.viewer.stamp.split(' ')[0]}: {count:,} Gaussians"

    def _renew(self) -> None:
        self.about.value = self._sentence()
        self._list_layers()

    def _list_layers(self) -> None:
        """A line for each layer: those that were there keep theirs."""
        names = [layer.name for layer in self.viewer.scene.layers][:MOST_LAYERS]
        for name in [name for name in self._boxes if name not in names]:
            self._boxes.pop(name).remove()
            self.viewer.hidden.discard(name)
        for number, name in enumerate(names):
            if name not in self._boxes:
                self._boxes[name] = self._box(name)
            self._boxes[name].order = float(number)

    def _box(self, name: str) -> GuiCheckboxHandle:
        with self.layers:
            box = self.viewer.server.gui.add_checkbox(name[:40], True)

        @box.on_update
        def _(_: GuiEvent[Any]) -> None:
            self.viewer.ask(lambda: (self.viewer.hidden.discard if box.value else self.viewer.hidden.add)(name))

        return box


def _step(begin: float, end: float) -> float:
    """The slider's step: a five-hundredth of the recording, no finer than a millisecond."""
    return max((end - begin) / 500, 1e-3)
