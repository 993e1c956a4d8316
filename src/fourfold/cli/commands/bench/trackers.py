"""Score point trackers and scenes by the same tracks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from fourfold.cli.arguments import Out
from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class BenchTrackers(Command):
    """Ask every 2D tracker lifted by every depth, every 3D tracker, and finished scenes for the same points of a generated capture."""

    capture: Positional[Path]
    """A capture that `fourfold synth` made."""

    runs: tuple[Path, ...] = ()
    """Runs of that capture, whose scenes are asked too."""

    out: Out = Path("out/trackers")
    """Folder in which estimates are kept."""

    def run(self) -> Result:
        from fourfold.benchmarking.trackers import bench_trackers
        from fourfold.cli.progress import progress

        with progress() as report:
            return Result(bench_trackers(self.capture, self.out, self.runs, lambda stage, done, total: report(stage, done, total)))
