"""Say what a video, a folder of images or a dataset holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class Inspect(Command):
    """Say what a capture holds and what would have to be estimated, without changing anything."""

    paths: Positional[tuple[Path, ...]]
    """A video, several synchronised videos, an image folder or a dataset folder."""

    holdout: str | None = None
    """Which images would measure the result: every:8, cameras:NAME,NAME or none."""

    def run(self) -> Result:
        from fourfold.capture.inspect import inspect

        return Result(inspect(self.paths, holdout=self.holdout))
