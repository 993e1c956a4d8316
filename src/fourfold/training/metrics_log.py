"""`metrics.jsonl`: one line per step with a checksum of its own, cut back to the checkpoint when training resumes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from fourfold.files import replacing, text_checksum
from fourfold.notices import fallback

CHECKSUM = "crc"


class MetricsLog:
    """Appends JSON lines with at least `stage` (its number) and `step`; what is not finite is written as null."""

    def __init__(self, path: Path, stage: int, step: int) -> None:
        """Open `path` for appending after dropping every line at or after `step` of `stage`, and every damaged or half-written line.

        A line that is missing before, which no step to come writes again, is said.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in _lines(path) if (line["stage"], line["step"]) < (stage, step)]
        if _missing(kept, stage, step):
            fallback(f"{path} was damaged: lines of steps that were done before are missing from it")
        with replacing(path) as temporary:
            temporary.write_text("".join(_text(line) for line in kept))
        self._file = path.open("a")

    def write(self, record: dict[str, Any]) -> None:
        """Append one line."""
        self._file.write(_text({key: _finite(value) for key, value in record.items()}))
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
        except ValueError:
            continue  # a line that a kill cut short, or that is damaged
        if not (isinstance(line, dict) and isinstance(line.get("stage"), int) and isinstance(line.get("step"), int)):
            continue  # damaged likewise
        if line.pop(CHECKSUM, None) in (None, text_checksum(line)):
            result.append(line)
    return result


def _text(line: dict[str, Any]) -> str:
    return json.dumps({**line, CHECKSUM: text_checksum(line)}, allow_nan=False) + "\n"


def _missing(lines: list[dict[str, Any]], stage: int, step: int) -> bool:
    """Whether `lines` have a gap, or end before the `step` of `stage` that comes next."""
    places = [(line["stage"], line["step"]) for line in lines]
    ends = places[-1:] == [(stage, step - 1)] if step else True
    return not ends or any(here != (before[0], before[1] + 1) and here[1] != 0 for before, here in zip([(0, -1), *places], places, strict=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
