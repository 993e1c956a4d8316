"""Check a recipe's published ablations: the same captures and seeds, one change at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from fourfold.cli.arguments import Out, check_positive, seconds
from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class BenchAblation(Command):
    """Reconstruct with a recipe and each of its ablations, in pairs of the same capture and seed, and test the published orderings.

    Runs are kept: the same command again continues. Writes ablation_NAME.json, .md and .html.
    """

    name: Positional[str]
    """Whose ablations, for example sharptimegs; a wrong name shows all recipes that have some."""

    data: Path | None = None
    """The folder that holds the data sets."""

    captures: tuple[str, ...] = ()
    """Tables whose captures are used, for example synth_casual; the ablation's own if not given."""

    variants: tuple[str, ...] = ()
    """Which ablations; those of the published orderings if not given."""

    oracle: Literal["masks", "depth", "tracks", "cameras"] | None = None
    """Instead: the recipe against itself with this prior exact, on generated captures of which images, and cameras but for `cameras`, are seen."""

    seeds: int = 3
    """How many seeds, from 0."""

    budget: str | None = None
    """How long each run may take, for example 10m."""

    quality: Literal["draft", "normal", "best", "full"] | None = None
    """How much work to do; the table's own if not given."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""

    out: Out = Path("out/bench")
    """Where runs and pages go."""

    into: Path | None = None
    """A Markdown file whose section of this name is written anew, for example docs/results.md."""

    def run(self) -> Result:
        from fourfold.benchmarking.ablation import bench_ablation
        from fourfold.benchmarking.pages import write_pages, write_section
        from fourfold.benchmarking.table import TableOptions
        from fourfold.cli.progress import progress

        check_positive(seeds=self.seeds)
        budget = None if self.budget is None else seconds(self.budget)
        options = TableOptions(self.data, self.out, (), self.seeds, budget, self.quality, self.device)
        with progress() as report:
            result = bench_ablation(
                self.name, options, self.captures, self.variants, lambda stage, done, total: report(stage, done, total), self.oracle
            )
        pages = write_pages(result, self.out)
        if self.into is not None:
            write_section(result, self.into)
        return Result({**result, "pages": pages}, ok=not any(row.get("error") for row in result["rows"]))

    def show(self, result: Result) -> None:
        from fourfold.benchmarking.pages import markdown

        print(markdown(result.value))
        for path in result.value["pages"].values():
            print(path)
