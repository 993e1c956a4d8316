"""`bench table`: run every capture, recipe and seed of a case, and set the figures beside the published ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fourfold.benchmarking.cases import Case, Place, find_case
from fourfold.benchmarking.measure import KEYS, Task, measured
from fourfold.benchmarking.taxonomy import by_axes
from fourfold.capture.holdout import TRAINED
from fourfold.evaluation.published.reader import Figure, PublishedTable, load_published, refusal
from fourfold.options import Options
from fourfold.recipes import find_recipe
from fourfold.recipes.recipe import QualityName

Row = dict[str, Any]
Say = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Filming:
    """A row that differs in what is filmed, or has another recipe's name.

    Attributes:
        recipe: what runs, "" for what the row is called.
        cameras: how many of the training cameras train; every: every how many moments are taken.
    """

    recipe: str = ""
    cameras: int | None = None
    every: int = 1


@dataclass(frozen=True)
class TableOptions:
    """What to run.

    Attributes:
        data: folder that holds the data sets, None if there is none.
        out: where runs and pages go.
        recipes: recipe names, or ablations as RECIPE/ABLATION; "auto" chooses by the capture.
        seeds: how many seeds, from 0.
        budget: seconds per run, None for the quality's own length.
        quality: None for the case's own.
        device: "auto", "cpu" or "cuda".
        protocol: how to measure, None for the case's own way.
        filmed: recipe of `recipes` -> what that row does in another way.
    """

    data: Path | None
    out: Path
    recipes: tuple[str, ...] = ("auto",)
    seeds: int = 1
    budget: float | None = None
    quality: QualityName | None = None
    device: str = "auto"
    protocol: str | None = None
    filmed: Mapping[str, Filming] = field(default_factory=dict)


def bench_table(name: str, options: TableOptions, say: Say = lambda *_: None) -> dict[str, Any]:
    """The table `name`: `{"name", "title", "rows", "missing", "notes"}`; ours first, then the published rows.

    A run that is already in `options.out` is not made again; one that fails becomes a row with its error. FourfoldError for a name or a recipe
    that does not exist.
    """
    case = find_case(name)
    for recipe in options.recipes:
        runs = options.filmed.get(recipe, Filming()).recipe or recipe
        if runs != "auto":
            find_recipe(runs)
    published = load_published(case.published) if case.published else None
    places = [replace(place, protocol=options.protocol or place.protocol) for place in case.places]
    plans = [(place, place.captures(options.data, options.out / "data")) for place in places]
    total = sum(len(captures) * len(place.holdouts) for place, captures in plans) * len(options.recipes) * options.seeds
    rows: list[Row] = []
    done = 0
    for place, captures in plans:
        for recipe in options.recipes if captures else ():
            for seed in range(options.seeds):
                tasks = plan(case, place, captures, recipe, seed, options)
                results: list[Row] = []
                for task in tasks:
                    say(f"{task.folder.parent.name}: {recipe}, seed {seed}", done, total)
                    results.append(measured(task))
                    done += 1
                rows.append(_ours(place, recipe, seed, results, published))
    rows += _published(published)
    missing = sorted({place.dataset for place, captures in plans if not captures})
    return {
        "name": name,
        "title": case.title,
        "rows": rows,
        "missing": missing,
        "how_to_get": case.how_to_get if missing else None,
        "notes": list(published.notes) if published else [],
        "published_source": published.source if published else None,
        "by_axes": by_axes(rows, published.axes) if published else [],
    }


def plan(case: Case, place: Place, captures: Sequence[Path], recipe: str, seed: int, options: TableOptions) -> list[Task]:
    """The runs whose figures are averaged into one row: every capture and every fold."""
    quality = options.quality or case.quality
    budget = "" if options.budget is None else f"_{options.budget:g}s"
    way = options.filmed.get(recipe, Filming())
    trained = "" if way.cameras is None else f"{TRAINED}{way.cameras}"
    tasks: list[Task] = []
    for capture in captures:
        for holdout in place.holdouts:
            rule = f"{holdout or ''}{trained}" or None
            chosen = Options(way.recipe or recipe, quality, options.budget, rule, seed, options.device, baselines=False, every=way.every)
            fold = "" if holdout is None else "_" + holdout.replace(":", "-").replace(",", "-")
            folder = options.out / "runs" / capture.name / f"{recipe.replace('/', '-')}_{quality}{budget}_seed{seed}{fold}"
            tasks.append(Task(capture, folder, chosen, place.protocol))
    return tasks


def _ours(place: Place, recipe: str, seed: int, results: list[Row], published: PublishedTable | None) -> Row:
    """One row from the runs of its captures and folds: means of the figures, sums of nothing, and the differences that may be taken."""
    good = [r for r in results if "error" not in r]
    keys = list(dict.fromkeys([*KEYS, *(k for r in good for k in r["metrics"])]))
    first = good[0] if good else {}
    row: Row = {
        "recipe": recipe,
        "source": "ours",
        "dataset": place.dataset,
        "seed": seed,
        "metrics": {k: _mean([r["metrics"].get(k) for r in good]) for k in keys},
        "seconds": _mean([r["seconds"] for r in good]),
        "gaussians": None if not good else round(float(np.mean([r["gaussians"] for r in good]))),
        "protocol": place.protocol,
        "runs": [{k: r.get(k) for k in ("run", "command", "error", "seconds", "gaussians", "metrics")} for r in results],
        **{k: first.get(k) for k in ("recipe_used", "variants", "unavailable", "size", "as_published", "images", "megabytes")},
        **{k: first.get(k) for k in ("peak_memory_megabytes", "quality", "budget_seconds", "device", "commit")},
    }
    errors = [r["error"] for r in results if "error" in r]
    if errors:
        row["error"] = errors[0] if len(errors) == 1 else f"{len(errors)} of {len(results)} runs failed: {errors[0]}"
    row["against_published"] = _against(row, place, published)
    return row


def _against(row: Row, place: Place, published: PublishedTable | None) -> list[dict[str, Any]]:
    """Per published method of the same data set: difference per metric, or why there is none."""
    if published is None:
        return []
    found: list[dict[str, Any]] = []
    for other in published.rows:
        if other.dataset != place.dataset:
            continue
        entry: dict[str, Any] = {"method": other.method, "difference": {}, "refused": {}}
        for key, theirs in other.figures.items():
            value, variant = row["metrics"].get(key), (row["variants"] or {}).get(key)
            if value is None or variant is None:
                continue
            ours = Figure(value, variant, tuple(row["size"]) if row["size"] else None)
            reason = refusal(ours, theirs)
            if reason is None:
                entry["difference"][key] = ours.value - theirs.value
            else:
                entry["refused"][key] = reason
        found.append(entry)
    return found


def _published(table: PublishedTable | None) -> list[Row]:
    rows: list[Row] = []
    for row in table.rows if table else ():
        figures = {k: f.value for k, f in row.figures.items()}
        size = next((list(f.size) for f in row.figures.values() if f.size), None)
        rows.append(
            {
                "recipe": row.method,
                "source": "published",
                "dataset": row.dataset,
                "seed": None,
                "metrics": {**dict.fromkeys(KEYS), **figures},
                "seconds": None,
                "gaussians": None,
                "variants": {k: f.variant for k, f in row.figures.items()},
                "size": size,
            }
        )
    return rows


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
