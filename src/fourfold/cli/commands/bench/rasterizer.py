"""Time the rasterizer on fixed scenes against the slow reference."""

from __future__ import annotations

from dataclasses import dataclass

from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class BenchRasterizer(Command):
    """Time forward and backward of every rasterizer backend on fixed scenes, next to the slow reference, in one run."""

    threads: tuple[int, ...] = (1, 2)
    """Numbers of threads to time the compiled kernel with."""

    repeats: int = 10
    """How often each is timed; the median counts."""

    def run(self) -> Result:
        from fourfold.evaluation.bench_rasterizer import bench

        return Result(bench(self.threads, self.repeats))
