"""Write a run's scene in another format."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from fourfold.cli.arguments import MaybeOut
from fourfold.cli.frame import Command, Result
from fourfold.export.formats import formats_list


@dataclass(frozen=True, kw_only=True)
class Export(Command):
    """Write a run's scene for other programs, and say what packing it cost (docs/formats.md)."""

    run_folder: Positional[Path]
    """The run's folder."""

    scene: Path | None = None
    """Another scene of the same world than the run's: what `fourfold edit` wrote."""

    format: Annotated[str, arg(help=f"One of: {formats_list()}.")]

    out: MaybeOut = None
    """File or folder to write; RUN/exports/NAME by default."""

    time: float | None = None
    """The moment, in seconds, of formats that hold one; the middle by default."""

    frames: int | None = None
    """How many moments formats that hold many get; as many as were filmed by default."""

    path: str = "input"
    """Camera path of pictures, videos and cameras: input, steady, orbit, wiggle, bullet-time or turntable."""

    alpha: bool = False
    """Pictures, WebM and GIF transparent where nothing is, without the background."""

    def run(self) -> Result:
        from fourfold.cli.arguments import check_positive
        from fourfold.errors import FourfoldError
        from fourfold.export.formats import export, find_format
        from fourfold.export.options import ExportOptions
        from fourfold.export.scene_files import read_scene
        from fourfold.export.speed import at_speed_of
        from fourfold.files import refuse_other_kinds
        from fourfold.pipeline import Run

        entry = find_format(self.format)
        check_positive(frames=self.frames)
        if self.run_folder.is_file():
            raise FourfoldError(f"{self.run_folder} is a file, not a run: `fourfold export RUN --scene {self.run_folder}` takes the cameras of a run")
        run = Run(self.run_folder)
        out = self.out or self.run_folder / "exports" / entry.default_name
        refuse_other_kinds(out, entry.default_name)
        scene = run.scene if self.scene is None else read_scene(self.scene)
        lost = export(self.format, scene, at_speed_of(scene, run.capture), out, ExportOptions(self.time, self.frames, self.path, self.alpha))
        return Result({"format": self.format, "out": out} | ({} if lost is None else {"lost": asdict(lost)}))
