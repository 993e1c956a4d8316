"""`metrics.jsonl`: one line per step, cut back to the checkpoint when training resumes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from fourfold.files import replacing


class MetricsLog:
    """Appends JSON lines with at least `stage` (its number) and `step`; what is not finite is written as null."""

    def __init__(self, path: Path, stage: int, step: int) -> None:
        """Open `path` for appending after dropping every line at or after `step` of `stage`, and any half-written line."""
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in _lines(path) if (line["stage"], line["step"]) < (stage, step)]
        with replacing(path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self._file = path.open("a")

    def write(self, record: dict[str, Any]) -> None:
        """Append one line."""
        self._file.write(json.dumps({key: _finite(value) for key, value in record.items()}, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a metrics file, in order; empty if there is none."""
    return _lines(path)


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    result: list[dict[str, Any]] = []
    for text in path.read_text(errors="replace").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            break  # a line that a kill cut short; everything after it is redone
        if not (isinstance(line, dict) and isinstance(line.get("stage"), int) and isinstance(line.get("step"), int)):
            break  # damaged likewise
        result.append(line)
    return result


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
