"""Ranks follow what was measured: docs/priors.md is read, and no provider serves before one that is better at the same thing on the same captures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path

import pytest

from fourfold.priors.providers import all_providers

PAGE = Path(__file__).parents[1] / "docs" / "priors.md"
FIGURES: Mapping[str, tuple[tuple[str, float], ...]] = {
    "cameras": (("rotation, deg", -1), ("ATE, m", -1)),
    "masks": (("IoU", 1), ("IoU, 0 = background", 1)),
    "flow": (("EPE, px", -1),),
    "depth": (("abs rel, scaled", -1), ("delta 1.25, scaled, %", 1), ("moving, scaled", -1)),
    "matches": (("median, px", -1), ("within 2 px, %", 1)),
    "tracks2d": (("AJ", 1), ("AJ, truth's points", 1)),
    "tracks3d": (("EPE, m", -1), ("EPE hidden, m", -1)),
}
"""Prior -> the columns that judge its providers, +1 where more is better."""
Rows = dict[tuple[str, str], dict[str, list[float]]]
"""(kind of capture, inputs) -> provider -> its figures, more is better; clean, then with noise."""


def measured(page: str) -> dict[str, Rows]:
    """The tables of the page, by prior."""
    found: dict[str, Rows] = {}
    for name, text in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.M | re.S):
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
        if name not in FIGURES or not lines:
            continue
        rows = found.setdefault(name, {})
        for cells in lines[2:]:
            row = dict(zip(lines[0], cells, strict=True))
            figures = [sign * float(n) for column, sign in FIGURES[name] for n in row[column].split("/") if n.strip() not in ("", "-")]
            if figures and "(real)" not in row["capture"]:
                rows.setdefault((row["capture"].partition("/")[0], row["inputs"]), {})[row["provider"]] = figures
    return found


def outranked(found: Mapping[str, Rows], rank: Mapping[str, int]) -> list[str]:
    """Pairs where the one that serves first is the worse one by every figure, on every input that a kind of capture was measured with."""
    wrong: list[str] = []
    for prior, rows in found.items():
        for kind in sorted({kind for kind, _ in rows}):
            own = [row for (of, _), row in rows.items() if of == kind]
            for first, better in permutations({name for row in own for name in row if name in rank}, 2):
                both = [(row[first], row[better]) for row in own if first in row and better in row]
                # noise was not measured for every provider: as many figures as both have
                worse = [all(b > a for a, b in zip(f, g, strict=False)) for f, g in both]
                if both and all(worse) and rank[first] > rank[better]:
                    wrong.append(f"{prior} on {kind}: {first} serves before {better}")
    return wrong


def ranks() -> dict[str, int]:
    """Who serves without being named."""
    return {p.name: p.rank for p in all_providers() if not p.named and not p.refines}


def test_no_provider_serves_before_a_better_one() -> None:
    found = measured(PAGE.read_text())
    assert outranked(found, ranks()) == []


@pytest.mark.parametrize(
    ("prior", "better", "worse"), [("tracks3d", "anchored", "lifted_tracks"), ("flow", "dis", "raft-small"), ("matches", "sift", "learned_points")]
)
def test_the_page_tells_of_those_that_were_wrong(prior: str, better: str, worse: str) -> None:
    found = {prior: measured(PAGE.read_text())[prior]}
    turned = ranks() | {better: 1, worse: 2}
    assert any(line.endswith(f"{worse} serves before {better}") for line in outranked(found, turned))
