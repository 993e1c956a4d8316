"""Fill a table: our recipes beside published figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from fourfold.cli.arguments import Out, check_positive, seconds
from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class BenchTable(Command):
    """Reconstruct the captures of a benchmark and print our figures beside the published ones, with time, memory, device and commit.

    Runs are kept: the same command again continues, and adds what is missing. Writes NAME.json, NAME.md and NAME.html.
    """

    name: Positional[str]
    """Which table, for example nvidia_balloon1, synth_casual or dense_rigs; a wrong name shows all of them."""

    data: Path | None = None
    """The folder that holds the data sets."""

    recipes: tuple[str, ...] = ("auto",)
    """Which recipes, or RECIPE/ABLATION; "auto" chooses by what the capture is."""

    seeds: int = 1
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
        from fourfold.benchmarking.pages import write_pages, write_section
        from fourfold.benchmarking.table import TableOptions, bench_table
        from fourfold.cli.progress import progress

        check_positive(seeds=self.seeds)
        budget = None if self.budget is None else seconds(self.budget)
        options = TableOptions(self.data, self.out, self.recipes, self.seeds, budget, self.quality, self.device)
        with progress() as report:
            result = bench_table(self.name, options, lambda stage, done, total: report(stage, done, total))
        pages = write_pages(result, self.out)
        if self.into is not None:
            write_section(result, self.into)
        return Result({**result, "pages": pages}, ok=not any(row.get("error") for row in result["rows"]))

    def show(self, result: Result) -> None:
        from fourfold.benchmarking.pages import markdown

        print(markdown(result.value))
        for path in result.value["pages"].values():
            print(path)
