"""The options of every command that reads a capture: which part of it, and how fast it was filmed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fourfold.cli.frame import Command


@dataclass(frozen=True, kw_only=True)
class ReadingCommand(Command):
    """Base of the commands that read a capture."""

    start: float = 0.0
    """Seconds after the first frame from which frames are taken."""

    end: float | None = None
    """Seconds after the first frame before which frames are taken."""

    every: int = 1
    """Take every n-th frame."""

    fps: float | None = None
    """Frames per second: the rate of a folder of images (its own times or 30 if not given), and how many of a film's frames are taken."""

    max_frames: int | None = None
    """Take at most so many frames of each camera, evenly."""

    shot: int | None = None
    """Number, from 1, of the shot of a film that cuts; the longest if not given."""

    def part(self) -> dict[str, Any]:
        """These options as keywords of `Options` and `CaptureOptions`."""
        names = ("start", "end", "every", "fps", "max_frames", "shot")
        return {name: getattr(self, name) for name in names}
