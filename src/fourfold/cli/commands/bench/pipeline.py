"""Time the whole job, stage by stage, on generated captures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class BenchPipeline(Command):
    """Reconstruct a generated clip and a generated rig, and tell what each stage takes in passes of the rasterizer on this machine."""

    history: Path | None = None
    """A file of one JSON object a line: the newest row of this machine is compared with, and this run is added, for example
    benchmarks/history.jsonl."""

    def run(self) -> Result:
        from fourfold.benchmarking.whole_job import bench_whole_job, remember, remembered
        from fourfold.cli.progress import progress

        with progress() as report:
            row = bench_whole_job(say=lambda name: report(f"reconstructing the {name}", 0, None))
        before = None if self.history is None else remembered(self.history, row["device"])
        if self.history is not None:
            remember(self.history, row)
        return Result(row | {"before": before})

    def show(self, result: Result) -> None:
        from fourfold.benchmarking.whole_job import table

        print(table(result.value, result.value["before"]))
