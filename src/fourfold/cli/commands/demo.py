"""Make a short clip on the spot and turn it into a scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fourfold.cli.arguments import Out, seconds
from fourfold.cli.commands.reconstruct import run_value, show_run
from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class Demo(Command):
    """Make a short hand-held clip of a moving figure, treat it as a bare video, and reconstruct it."""

    out: Out = Path("out/demo")
    """The run's folder; the clip is kept beside it."""

    seed: int = 0
    """Seed of the clip and of the reconstruction."""

    time_budget: str | None = None
    """How long the reconstruction may take, for example 3m. Without one it takes its steps, and its quality does not depend on the machine."""

    def run(self) -> Result:
        from fourfold.capture.synthetic import generate
        from fourfold.cli.progress import progress
        from fourfold.pipeline import reconstruct

        clip = self.out.with_name(self.out.name + "_clip")
        with progress() as report:
            if not (clip / "video.mp4").exists():
                report("filming the demo clip", 0, None)
                generate("casual", clip, seed=self.seed)
            budget = None if self.time_budget is None else seconds(self.time_budget)
            run = reconstruct(clip / "video.mp4", self.out, seed=self.seed, time_budget=budget, report=report)
        return Result(run_value(run))

    def show(self, result: Result) -> None:
        show_run(result.value)
