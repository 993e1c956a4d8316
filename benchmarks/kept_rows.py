"""Results of methods and seeds, one JSON object a line: what is there is not run again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def kept_rows(file: Path, wanted: Iterable[tuple[str, int]], run: Callable[[str, int], dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows of `file`, after `run` has added a row for each of the `wanted` (method, seed) pairs that it lacks."""
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {(row["method"], row["seed"]) for row in rows}
    for name, seed in wanted:
        if (name, seed) not in done:
            rows.append(run(name, seed))
            with file.open("a") as out:
                out.write(json.dumps(rows[-1]) + "\n")
    return rows
