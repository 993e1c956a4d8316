"""Write a run's scene in another format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from fourfold.cli.arguments import MaybeOut
from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class Export(Command):
    """Write a run's scene for other programs."""

    run_folder: Positional[Path]
    """The run's folder."""

    format: str
    """scene, ply (one moment), ply-sequence (SuperSplat plays it), tracks (.npz), mp4, png or html (a player in one file)."""

    out: MaybeOut = None
    """File or folder to write; RUN/exports/NAME by default."""

    time: float | None = None
    """The moment, in seconds, of formats that hold one; the middle by default."""

    frames: int | None = None
    """How many moments formats that hold many get; as many as were filmed by default."""

    path: str = "input"
    """Camera path of mp4 and png: input, orbit, wiggle, bullet-time or turntable."""

    def run(self) -> Result:
        from fourfold.cli.arguments import check_positive
        from fourfold.errors import FourfoldError
        from fourfold.export.formats import FORMATS, ExportOptions, export
        from fourfold.pipeline import Run

        if self.format not in FORMATS:
            raise FourfoldError(f"there is no export format {self.format!r}: choose one of {', '.join(FORMATS)}")
        check_positive(frames=self.frames)
        run = Run(self.run_folder)
        out = self.out or self.run_folder / "exports" / FORMATS[self.format].default_name
        export(self.format, run.scene, run.capture, out, ExportOptions(self.time, self.frames, self.path))
        return Result({"format": self.format, "out": out})
