"""Put runs of one capture side by side on a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from fourfold.cli.arguments import Out
from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class Compare(Command):
    """Write one static page on which two or more runs of a capture play side by side, with one clock, one camera, their figures and frames."""

    runs: Positional[tuple[Path, ...]]
    """The folders of two or more runs."""

    out: Out = Path("comparison.html")
    """The page to write."""

    names: tuple[str, ...] = ()
    """What to call the runs; recipe and folder if not given."""

    def run(self) -> Result:
        from fourfold.errors import FourfoldError
        from fourfold.pipeline import Run
        from fourfold.viewer.compare import Compared, write_comparison

        if self.names and len(self.names) != len(self.runs):
            raise FourfoldError(f"--names got {len(self.names)} names for {len(self.runs)} runs: give one per run")
        runs = [Run(folder) for folder in self.runs]
        names = self.names or tuple(f"{run.report.get('recipe')} ({run.root.name})" for run in runs)
        compared = [Compared(name, run.root, run.scene, run.capture, run.report) for name, run in zip(names, runs, strict=True)]
        notes = write_comparison(self.out, compared)
        return Result({"out": self.out, "runs": list(names), "notes": notes})
