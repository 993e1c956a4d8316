"""Fallbacks: every time a better way was not available, said once and kept for the report."""

from __future__ import annotations

import sys

_said: list[str] = []


def fallback(sentence: str) -> None:
    """Print `sentence` once per process on stderr and remember it for `report.json`."""
    if sentence not in _said:
        _said.append(sentence)
        print(f"note: {sentence}", file=sys.stderr)


def fallbacks() -> list[str]:
    """All fallback sentences so far, in order."""
    return list(_said)
