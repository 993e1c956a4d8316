"""Results by the axes of a data set's taxonomy: means over the scenes that lie alike on one axis, ours and published ones alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Row = dict[str, Any]


def by_axes(rows: Sequence[Row], axes: Mapping[str, Mapping[str, str]]) -> list[Row]:
    """For every axis, place on it and method: `{"axis", "place", "recipe", "source", "scenes", "metrics"}`, in the order of the axes.

    Args:
        rows: of `bench table`; seeds of a recipe and scene are averaged first, so that every scene counts once.
        axes: data set -> axis -> place; rows of other data sets (averages) are left out.

    A figure is given where every scene of the place has it; nothing is said of a place of which a method has no scene.
    """
    found: list[Row] = []
    names = list(dict.fromkeys(axis for own in axes.values() for axis in own))
    methods = list(dict.fromkeys((row["source"], row["recipe"]) for row in rows if row["dataset"] in axes))
    for axis in names:
        for place in dict.fromkeys(own[axis] for own in axes.values() if axis in own):
            scenes = [scene for scene, own in axes.items() if own.get(axis) == place]
            for source, recipe in methods:
                own = {s: [r["metrics"] for r in rows if (r["source"], r["recipe"], r["dataset"]) == (source, recipe, s)] for s in scenes}
                if all(own.values()):
                    facts = {"axis": axis, "place": place, "recipe": recipe, "source": source, "scenes": scenes}
                    found.append(facts | {"metrics": _means(list(own.values()))})
    return found


def _means(scenes: Sequence[Sequence[Mapping[str, float | None]]]) -> dict[str, float]:
    """Means over scenes of means over seeds, of the figures that all of them have."""
    keys = dict.fromkeys(key for seeds in scenes for metrics in seeds for key in metrics)
    told = {key: [[m[key] for m in seeds if m.get(key) is not None] for seeds in scenes] for key in keys}
    return {key: float(np.mean([np.mean(np.array(seeds, float)) for seeds in every])) for key, every in told.items() if all(every)}
