"""Score every provider of every prior on synthetic captures against their exact truth."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class BenchPriors(Command):
    """Score cameras, masks, flow, depth, matches and tracks of every provider that serves, on every synthetic kind, against the exact truth."""

    kinds: tuple[str, ...] = ("casual", "orbit360", "sparse_fixed", "sparse_moving", "dense_rig")
    """Synthetic captures to measure on."""

    seeds: int = 1
    """Number of seeds of each kind."""

    noise: bool = False
    """Also measure with spoilt images, masks and depth."""

    priors: tuple[str, ...] = ()
    """Priors to measure; all of them if not given."""

    providers: tuple[str, ...] = ()
    """Providers to measure; all that can serve if not given."""

    inputs: tuple[str, ...] = ("exact", "images")
    """exact: the truth of what a provider reads is given; images: everything comes from bare images."""

    real: bool = False
    """Also measure on the real clips under $FOURFOLD_DATA (masks of camel, flow on Balloon1)."""

    finished: bool = False
    """Measure nothing: show what the folder holds already."""

    folder: Path = Path("bench_priors")
    """Where captures, priors and finished rows are kept; the same call again continues there."""

    markdown: Path | None = None
    """Also write the table as Markdown into this file."""

    def run(self) -> Result:
        from fourfold.evaluation.bench_priors import Choice, bench
        from fourfold.evaluation.bench_priors_page import write_page
        from fourfold.evaluation.bench_priors_real import bench_real

        choice = Choice(self.kinds, self.seeds, self.noise, self.priors, self.providers, self.inputs, self.finished)

        def say(sentence: str) -> None:
            print(sentence, file=sys.stderr, flush=True)

        rows = bench(choice, self.folder, say)
        if self.real:
            rows += bench_real(choice, self.folder, say)
        if self.markdown is not None:
            write_page(rows, self.markdown, choice, self.real)
        return Result({"rows": [asdict(row) for row in rows]})
