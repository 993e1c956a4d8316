"""Write a capture in another dataset's layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tyro.conf import Positional

from fourfold.cli.arguments import Out
from fourfold.cli.frame import Result
from fourfold.cli.reading import ReadingCommand

WHOLE = 1 << 40  # pixels per image: nothing is reduced


@dataclass(frozen=True, kw_only=True)
class Convert(ReadingCommand):
    """Write a capture, or a run's capture with its estimated cameras, in the layout of another system, undistorted and without loss."""

    paths: Positional[tuple[Path, ...]]
    """A dataset folder, videos, images, or the folder of a run."""

    to: str
    """Which layout; a name that is not there gives the list."""

    out: Out
    """New folder to write."""

    holdout: str | None = None
    """Images that measure the result: every:8, moments:3, cameras:NAME,NAME, standing or none."""

    def run(self) -> Result:
        from fourfold.capture.convert import convert
        from fourfold.capture.ingest import prepare_capture
        from fourfold.capture.source import CaptureOptions
        from fourfold.capture.writers import find_writer
        from fourfold.errors import FourfoldError
        from fourfold.pipeline import Run

        find_writer(self.to)
        if len(self.paths) == 1 and (self.paths[0] / "config.json").is_file():
            if CaptureOptions(**self.part()) != CaptureOptions():
                raise FourfoldError(f"{self.paths[0]} is a run, whose frames are chosen already: give the capture itself to take a part of it")
            done = convert(Run(self.paths[0]).capture, self.to, self.out)
        else:
            with TemporaryDirectory() as folder:
                options = CaptureOptions(**self.part())
                capture = prepare_capture(list(self.paths), Path(folder) / "capture", pixels=WHOLE, holdout=self.holdout, options=options)
                done = convert(capture, self.to, self.out)
        return Result({"out": self.out, "layout": done.layout, "not stored": list(done.lost)})
