"""Reconstruct many captures, on this machine or on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from fourfold.cli.arguments import Out
from fourfold.cli.frame import Command, Result

if TYPE_CHECKING:
    from fourfold.fleet.batch import Row


@dataclass(frozen=True, kw_only=True)
class Batch(Command):
    """Reconstruct every capture of a manifest, each into a run's folder below one folder. The same command again continues.

    The manifest is JSON or TOML with a list `captures` of objects with `paths`, perhaps `name`, and options of `reconstruct`
    (`quality = "draft"`), and with `defaults` for all; or text with one path a line. A cluster's machines must see the same files.
    """

    manifest: Positional[Path]
    """The list of captures."""

    out: Out
    """Folder for the runs and the table `batch.json`."""

    cluster: str = "local"
    """"local" is Ray on this machine, or plain processes where Ray is not installed; "processes"; or the address of a Ray cluster."""

    workers: int | None = None
    """Captures at a time on this machine; as many as its processors allow if not given."""

    cpus: int = 2
    """Processors for one capture."""

    retries: int = 2
    """Further tries for a capture whose try failed; one that was lost with its machine is made again in any case."""

    def run(self) -> Result:
        from fourfold.cli.progress import progress
        from fourfold.errors import FourfoldError
        from fourfold.fleet.batch import run_batch
        from fourfold.fleet.manifest import read_manifest
        from fourfold.fleet.runners import runner
        from fourfold.owner import owned

        if self.cpus < 1 or self.retries < 0 or (self.workers is not None and self.workers < 1):
            raise FourfoldError("--cpus and --workers must be 1 or more, --retries 0 or more")
        jobs = read_manifest(self.manifest, self.out)
        with owned(self.out), progress() as report, runner(self.cluster, self.workers, self.cpus) as submit:
            rows = run_batch(jobs, self.out, submit, self.retries, lambda rows: report("captures", _over(rows), len(rows), _counts(rows)))
        return Result({"out": self.out, "rows": [asdict(row) for row in rows]}, ok=all(row.state == "done" for row in rows))

    def show(self, result: Result) -> None:
        rows = result.value["rows"]
        width = max(len(row["name"]) for row in rows)
        for row in rows:
            figures = "  ".join(f"{k} {row['figures'][k]:.2f}" for k in ("psnr", "psnr_dynamic") if row["figures"].get(k) is not None)
            print(f"{row['name']:<{width}}  {row['state']:<8} {row['seconds']:>8.0f} s  {figures or row['sentence']}".rstrip())


def _over(rows: Sequence[Row]) -> int:
    return sum(row.state in ("done", "failed", "refused") for row in rows)


def _counts(rows: Sequence[Row]) -> str:
    states = [row.state for row in rows]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
