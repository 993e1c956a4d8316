"""Keyframes of camera and time that somebody sets while looking: a list whose lines can be looked from, set anew, moved up and deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fourfold.errors import FourfoldError
from fourfold.live.cameras import Pose
from fourfold.live.viewer import LiveViewer

if TYPE_CHECKING:
    from viser import ClientHandle, GuiButtonGroupHandle, GuiEvent

MOST_KEYS = 48
GO, SET, UP, DELETE = ACTIONS = ("Go", "Set", "Up", "Delete")


class KeyframeList:
    """The keyframes `keys`, (seconds, pose) in their order, and a line for each."""

    def __init__(self, viewer: LiveViewer) -> None:
        self.viewer, self.keys, gui = viewer, list[tuple[float, Pose]](), viewer.server.gui
        add = gui.add_button("Add keyframe", hint="This camera at this time")
        self.folder = gui.add_folder("Keyframes: none")
        clear = gui.add_button("Forget keyframes")
        self._lines: list[GuiButtonGroupHandle] = []
        clear.on_click(lambda _: viewer.ask(self.clear))

        @add.on_click
        def _(event: GuiEvent[Any]) -> None:
            viewer.ask(lambda: self.add(viewer.pose_of(event.client)))

    def add(self, pose: Pose) -> None:
        """Put a camera at the present time behind the others. FourfoldError where there are too many."""
        if len(self.keys) >= MOST_KEYS:
            raise FourfoldError(f"there are {MOST_KEYS} keyframes: delete some before adding another")
        self.keys.append((self.viewer.clock.time, pose))
        self._list()

    def clear(self) -> None:
        """Forget all."""
        self.keys.clear()
        self._list()

    def act(self, action: str, number: int, client: ClientHandle | None) -> None:
        """What the line `number` was asked for by a browser: to look from it, to set it to what the browser shows, to move it up, to delete it."""
        if number >= len(self.keys):
            return  # pressed before the list was made anew
        seconds, pose = self.keys[number]
        if action == GO:
            self.viewer.show_from(client, pose, seconds)
        elif action == SET:
            self.keys[number] = (self.viewer.clock.time, self.viewer.pose_of(client))
        elif action == UP and number > 0:
            self.keys[number - 1 : number + 1] = self.keys[number], self.keys[number - 1]
        elif action == DELETE:
            del self.keys[number]
        if action != GO:
            self._list()

    def _list(self) -> None:
        """Make the lines anew."""
        while self._lines:
            self._lines.pop().remove()
        self.folder.label = f"Keyframes: {len(self.keys) or 'none'}"
        with self.folder:
            self._lines += [self._line(number, seconds) for number, (seconds, _) in enumerate(self.keys)]

    def _line(self, number: int, seconds: float) -> GuiButtonGroupHandle:
        line = self.viewer.server.gui.add_button_group(f"{number + 1}: {seconds:.2f} s", ACTIONS)

        @line.on_click
        async def _(event: GuiEvent[Any]) -> None:
            action = str(line.value)  # at once: another press may come before the turn of a thread
            self.viewer.ask(lambda: self.act(action, number, event.client))

        return line
