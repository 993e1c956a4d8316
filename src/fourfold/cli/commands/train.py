"""Train the scene of a prepared run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from fourfold.cli.arguments import seconds
from fourfold.cli.frame import Command, Result

if TYPE_CHECKING:
    from fourfold.training.together import Together


@dataclass(frozen=True, kw_only=True)
class Train(Command):
    """Train the scene of a run that `prepare` made, or continue its training; leaves scene.safetensors.

    Results of another recipe, quality or seed that the run holds are kept in its folder `earlier`.
    """

    run_folder: Positional[Path]
    """The run's folder."""

    recipe: str = "auto"
    """Which system."""

    quality: Literal["draft", "normal", "best", "full"] = "normal"
    """How many steps and Gaussians."""

    time_budget: str | None = None
    """How long training may take, for example 5m."""

    seed: int = 0
    """Seed of everything random."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""

    processes: int = 1
    """Processes that train together, each with a batch of its own. Started by torchrun, also on several machines, this is not needed."""

    def run(self) -> Result:
        from fourfold.errors import FourfoldError
        from fourfold.fleet.ranks import run_ranks
        from fourfold.training.together import from_environment

        if self.processes < 1:
            raise FourfoldError(f"--processes got {self.processes}: expected 1 or more")
        if self.processes > 1:
            return Result(run_ranks(self._words(), self.processes))
        with from_environment() as together:
            return self._train(together)

    def _words(self) -> list[str]:
        """The command of one of several processes."""
        words = ["train", str(self.run_folder), "--recipe", self.recipe, "--quality", self.quality, "--seed", str(self.seed), "--device", self.device]
        return words if self.time_budget is None else [*words, "--time-budget", self.time_budget]

    def _train(self, together: Together) -> Result:
        from contextlib import nullcontext

        from fourfold import pipeline
        from fourfold.capture.capture import Capture
        from fourfold.cli.progress import progress
        from fourfold.conclude import Job, training_steps
        from fourfold.evaluation.advice import cut_short
        from fourfold.options import Clock, Options, silent
        from fourfold.owner import owned

        budget = None if self.time_budget is None else seconds(self.time_budget)
        options, clock = Options(self.recipe, self.quality, budget, None, self.seed, self.device), Clock()
        with progress() as shown, owned(self.run_folder) if together.first else nullcontext():
            report = shown if together.first else silent
            if not together.first:
                together.wait()  # for the priors, which the first one makes and all read
            capture = Capture.load(self.run_folder / "capture")
            made = pipeline.make(capture, self.run_folder, options, report, clock, together)
        steps = training_steps(Job(self.run_folder, "", made.preparation, made.recipe, made.because, options, clock, made.long))
        layers = {layer.name: len(layer) for layer in made.scene.layers}
        told = {"run": self.run_folder, "recipe": made.recipe.name if self.recipe == "auto" else self.recipe, "because": made.because}
        return Result({**told, "gaussians": layers, "training": steps, "advice": cut_short(steps), "seconds": clock.stages})
