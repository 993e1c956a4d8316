"""Time a whole training step, stage by stage, and show how time and memory grow."""

from __future__ import annotations

from dataclasses import dataclass

from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class BenchTraining(Command):
    """Time a training step with all losses of a recipe on a generated clip, its growth, and the way to a held-out PSNR."""

    recipe: str = "shape_of_motion"
    """Whose longest stage is measured."""
    steps: int = 40
    """Steps of every measurement."""

    def run(self) -> Result:
        from fourfold.recipes import find_recipe
        from fourfold.training.benchmark import BenchNumbers, bench_training

        return Result(bench_training(find_recipe(self.recipe).longest_stage, BenchNumbers(steps=self.steps)))
