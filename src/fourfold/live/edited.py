"""Edits that somebody made while looking: kept as a list, so that the scene of a training that goes on is edited again when it comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fourfold.errors import FourfoldError
from fourfold.scene.edits import floaters, parts, time
from fourfold.scene.edits.joined import joined
from fourfold.scene.scene import Scene


@dataclass(frozen=True)
class EditLine:
    """One edit: what it is called, and what makes the scene after it of the scene before it."""

    name: str
    make: Callable[[Scene], Scene]


@dataclass
class Edited:
    """A scene and the edits made to it.

    Attributes:
        source: the scene as it was read.
        lines: what was done to it, in order.
        scene: what came of that.
    """

    source: Scene
    lines: list[EditLine] = field(default_factory=list)
    scene: Scene = field(init=False)

    def __post_init__(self) -> None:
        self.scene = self.source

    def add(self, line: EditLine) -> None:
        """Make one more edit. FourfoldError, and nothing changes, if it cannot be made of this scene."""
        self.scene = line.make(self.scene)
        self.lines.append(line)

    def undo(self) -> None:
        """Take the last edit back."""
        if self.lines:
            self.lines.pop()
            self._again()

    def renew(self, source: Scene) -> list[str]:
        """Take another source and edit it as before; names of the edits that it does not allow, which are dropped."""
        self.source = source
        return self._again()

    def _again(self) -> list[str]:
        lines, self.lines, self.scene = self.lines, [], self.source
        lost: list[str] = []
        for line in lines:
            try:
                self.add(line)
            except FourfoldError:
                lost.append(line.name)
        return lost


def crop(low: tuple[float, float, float], high: tuple[float, float, float]) -> EditLine:
    """What lies in the box from `low` to `high`, scene units."""
    return EditLine("crop", lambda scene: parts.cropped(scene, low, high))


def one_mover(number: int, keep: bool) -> EditLine:
    """That mover alone beside what stands still, or all but it."""
    return EditLine(f"{'keep' if keep else 'drop'} mover {number}", lambda scene: parts.with_movers(scene, (number,), keep))


def freeze(seconds: float) -> EditLine:
    """The scene as it is at that time, standing still."""
    return EditLine(f"freeze at {seconds:.2f} s", lambda scene: time.frozen(scene, seconds))


def retime(speed: float) -> EditLine:
    """The scene `speed` times as fast."""
    return EditLine(f"{speed:g} times as fast", lambda scene: time.retimed(scene, speed))


def without(layers: tuple[str, ...]) -> EditLine:
    """The scene without the layers of those names."""
    return EditLine(f"without {', '.join(layers)}", lambda scene: parts.without_layers(scene, layers))


def join(name: str, other: Scene) -> EditLine:
    """The scene with another one, called `name`, in its world."""
    return EditLine(f"with {name}", lambda scene: joined(scene, other))


BACKGROUND = EditLine("background only", parts.background_alone)
MOVERS = EditLine("movers only", parts.movers_alone)
CLEAN = EditLine("without floaters", floaters.without_floaters)
