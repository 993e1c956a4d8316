"""Train the scene of a prepared run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from fourfold.cli.arguments import seconds
from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class Train(Command):
    """Train the scene of a run that `prepare` made, or continue its training; leaves scene.safetensors."""

    run_folder: Positional[Path]
    """The run's folder."""

    recipe: str = "auto"
    """Which system."""

    quality: Literal["draft", "normal", "best"] = "normal"
    """How many steps and Gaussians."""

    time_budget: str | None = None
    """How long training may take, for example 5m."""

    seed: int = 0
    """Seed of everything random."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""

    def run(self) -> Result:
        from fourfold import pipeline
        from fourfold.capture.capture import Capture
        from fourfold.cli.progress import progress
        from fourfold.options import Clock, Options
        from fourfold.owner import owned

        budget = None if self.time_budget is None else seconds(self.time_budget)
        options, clock = Options(self.recipe, self.quality, budget, None, self.seed, self.device), Clock()
        with progress() as report, owned(self.run_folder):
            capture = Capture.load(self.run_folder / "capture")
            posed = pipeline.estimate(capture, (), self.run_folder, report, clock).capture
            recipe, because = pipeline.pick_recipe(posed, options)
            preparation = pipeline.estimate(capture, recipe.priors, self.run_folder, report, clock)
            scene = pipeline.optimise(preparation, recipe, self.run_folder, options, report, clock)
        layers = {layer.name: len(layer) for layer in scene.layers}
        return Result({"run": self.run_folder, "recipe": recipe.name, "because": because, "gaussians": layers, "seconds": clock.stages})
