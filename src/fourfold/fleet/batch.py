"""A batch: every job of a manifest done once, lost tries made again, and one table of what became of all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fourfold.errors import FourfoldError
from fourfold.files import key_of, read_object, write_sealed
from fourfold.fleet.attempt import Outcome
from fourfold.fleet.manifest import Job
from fourfold.fleet.runners import Submit

TABLE = "batch.json"
MOST_LOST = 20  # tries of one job that may be lost with their workers: it may be what ends them


@dataclass
class Row:
    """What is known of a job: `state` is "waiting", "running", "done", "failed" (tries used up) or "refused" (a mistake in the input)."""

    name: str
    key: str
    state: str = "waiting"
    tries: int = 0
    lost: int = 0
    seconds: float = 0.0
    sentence: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


Told = Callable[[Sequence[Row]], None]


def run_batch(jobs: Sequence[Job], out: Path, submit: Submit, retries: int = 2, told: Told = lambda rows: None) -> list[Row]:
    """Do all `jobs`; what an earlier call finished stays. The table is kept in `out/batch.json` after every change.

    Args:
        retries: tries after the first for a job whose try failed; each continues where the last one stopped. A try that was lost with its
            worker is made again beside these.
        told: is given the rows after every change.

    Returns:
        one row a job, in the order of `jobs`.
    """
    rows = _resumed(jobs, out)
    running: dict[Future[Outcome], int] = {}

    def tell() -> None:
        write_sealed(out / TABLE, {"rows": [asdict(row) for row in rows]})
        told(rows)

    def start(number: int) -> None:
        rows[number].state, rows[number].tries = "running", rows[number].tries + 1
        running[submit(jobs[number], rows[number].lost > 0)] = number

    for number, row in enumerate(rows):
        if row.state != "done":
            start(number)
    tell()
    while running:
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            number = running.pop(future)
            _take(rows[number], future)
            if rows[number].state == "waiting":
                if rows[number].tries - rows[number].lost <= retries and rows[number].lost <= MOST_LOST:
                    start(number)
                else:
                    rows[number].state = "failed"
        tell()
    return rows


def _take(row: Row, future: Future[Outcome]) -> None:
    """Put what became of a try into its row; a row that may be tried again is "waiting"."""
    lost = future.exception()
    if lost is not None:  # the worker, or the machine it ran on, is no more
        row.lost, row.state, row.sentence = row.lost + 1, "waiting", f"the worker was lost ({type(lost).__name__})"
        return
    outcome = future.result()
    row.seconds, row.sentence, row.figures = round(row.seconds + outcome.seconds, 1), outcome.sentence, outcome.figures
    row.state = "done" if outcome.good else "refused" if outcome.final else "waiting"


def _resumed(jobs: Sequence[Job], out: Path) -> list[Row]:
    """Rows as the last call left them: what was done is done while its job is the same and its scene is there."""
    try:
        kept = {row["name"]: Row(**row) for row in read_object(out / TABLE)["rows"]}
    except FileNotFoundError:
        kept = {}
    except (KeyError, TypeError, FourfoldError):
        kept = {}  # damaged: finished runs are found finished by their own files, which takes a little longer
    rows = []
    for job in jobs:
        key = key_of(job.words)
        row = kept.get(job.name)
        done = row is not None and row.key == key and row.state == "done" and (job.out / "scene.safetensors").exists()
        rows.append(row if row is not None and done else Row(job.name, key, lost=1 if row is not None and row.state == "running" else 0))
    return rows
