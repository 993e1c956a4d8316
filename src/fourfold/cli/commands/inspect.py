"""Say what a video, a folder of images or a dataset holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class Inspect(Command):
    """Say what a capture holds and which recipe would take it, without changing anything."""

    path: Positional[Path]
    """A video, a folder of videos or images, or a dataset folder."""

    def run(self) -> Result:
        from fourfold.capture.inspect import inspect

        return Result(inspect(self.path))
