"""Read published tables, and compare a figure of ours with one of theirs only where both were measured the same way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fourfold.errors import FourfoldError
from fourfold.evaluation.protocols.catalogue import find_protocol

TABLES = Path(__file__).parent / "tables"


@dataclass(frozen=True)
class Figure:
    """A value with how it was measured: `variant` as in `Measure.variant`, `size` (width, height) or None where it does not matter."""

    value: float
    variant: str
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class PublishedRow:
    """One method on one data set: metric key -> figure, without those that were not published."""

    method: str
    dataset: str
    figures: dict[str, Figure]


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper.

    Attributes:
        name: the file's name; title: what it shows; source: the paper and where its numbers were read.
        datasets: data set -> the protocol its figures follow.
        rows: all of its cells, by method and data set.
        notes: what to know when reading it.
        axes: data set -> axis of the paper's taxonomy -> where on it the data set lies; empty without one.
    """

    name: str
    title: str
    source: str
    datasets: dict[str, str]
    rows: tuple[PublishedRow, ...]
    notes: tuple[str, ...]
    axes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def published_names() -> list[str]:
    """Names of all published tables, in alphabetical order."""
    return sorted(path.stem for path in TABLES.glob("*.json"))


def load_published(name: str) -> PublishedTable:
    """The published table `name`. FourfoldError naming the known ones if there is none."""
    if name not in published_names():
        raise FourfoldError(f"there is no published table {name!r}: choose one of {', '.join(published_names())}")
    value = json.loads((TABLES / f"{name}.json").read_text(encoding="utf-8"))
    datasets: dict[str, str] = value["datasets"]
    rows = [PublishedRow(r["method"], r["dataset"], _figures(r["metrics"], datasets[r["dataset"]], value["variants"])) for r in value["rows"]]
    return PublishedTable(value["name"], value["title"], value["source"], datasets, tuple(rows), tuple(value["notes"]), value.get("axes", {}))


def refusal(ours: Figure, theirs: Figure) -> str | None:
    """Why two figures may not be compared, or None if they may."""
    if ours.variant != theirs.variant:
        return f"measured as {ours.variant}, published as {theirs.variant}"
    if ours.size is not None and theirs.size is not None and ours.size != theirs.size:
        return f"measured at {ours.size[0]} x {ours.size[1]}, published at {theirs.size[0]} x {theirs.size[1]}"
    return None


def difference(ours: Figure, theirs: Figure) -> float:
    """Ours less theirs. FourfoldError if they were measured in different forms, over different pixels or at different sizes."""
    reason = refusal(ours, theirs)
    if reason is not None:
        raise FourfoldError(f"these figures cannot be compared: {reason}; evaluate with the protocol of the published table")
    return ours.value - theirs.value


def _figures(metrics: dict[str, float | None], protocol_name: str, variants: dict[str, str]) -> dict[str, Figure]:
    protocol = find_protocol(protocol_name)
    figures: dict[str, Figure] = {}
    for key, value in metrics.items():
        variant = variants.get(key) or protocol.variant(key)
        if variant is None:
            raise FourfoldError(f"the protocol {protocol_name} has no figure {key!r}, which a published table of it has: name its variant there")
        if value is not None:
            figures[key] = Figure(float(value), variant, protocol.size)
    return figures
