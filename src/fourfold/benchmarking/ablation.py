"""`bench ablation`: a recipe's ablations on the same captures and seeds, and whether the published orderings hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import comb
from pathlib import Path
from typing import Any

from fourfold.benchmarking.cases import BARE, HIDDEN
from fourfold.benchmarking.table import Filming, Row, Say, TableOptions, bench_table
from fourfold.errors import FourfoldError
from fourfold.evaluation.published.reader import load_published
from fourfold.recipes import all_ablations, find_recipe
from fourfold.recipes.exact import EXACT
from fourfold.recipes.recipe import Recipe

FOLDER = Path(__file__).parent / "ablations"
LOWER_IS_BETTER = ("epe_3d", "lpips", "flip", "flicker")


@dataclass(frozen=True)
class Ordering:
    """What is expected: ablation `better` beats ablation `worse` in `metric`."""

    better: str
    worse: str
    metric: str


@dataclass(frozen=True)
class Published:
    """What a published table says of the ablations.

    Attributes:
        table: its name; rows: ablation name -> method of it.
        datasets: which of its data sets, all if empty.
    """

    table: str
    rows: Mapping[str, str]
    datasets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """How a recipe's ablations are benchmarked.

    Attributes:
        captures: names of benchmark tables that give the captures.
        orderings: what is expected.
        published: the published tables, in the order in which they are shown.
        also: ablations to run that no ordering names.
        protocol: how all captures are measured, None for each capture's own way.
        filmed: ablation -> what is filmed in another way, or which other recipe runs; the others are ablations of the recipe.
    """

    captures: tuple[str, ...]
    orderings: tuple[Ordering, ...]
    published: tuple[Published, ...] = ()
    also: tuple[str, ...] = ()
    protocol: str | None = None
    filmed: Mapping[str, Filming] = field(default_factory=dict)


def plan_of(name: str) -> Plan:
    """The plan in `ablations/NAME.json`, else one from the recipe: the generated capture that suits it, "full" better than every other.

    FourfoldError naming the recipes that have ablations if this one has none.
    """
    known = {base: own for base, variants in all_ablations().items() if (own := set(variants) - {"full", "as_published", *EXACT})}
    if name not in known:
        raise FourfoldError(f"there are no ablations of {name!r}: choose one of {', '.join(sorted(known)) or '(no recipe has any)'}")
    file = FOLDER / f"{name}.json"
    if not file.exists():
        orderings = tuple(Ordering("full", other, "psnr_dynamic") for other in sorted(known[name]))
        return Plan((suiting_capture(find_recipe(f"{name}/full")),), orderings)
    value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    orderings = tuple(Ordering(**o) for o in value["orderings"])
    published = tuple(Published(p["table"], p["rows"], tuple(p.get("datasets", ()))) for p in value.get("published", ()))
    filmed = {variant: Filming(**way) for variant, way in value.get("filmed", {}).items()}
    plan = Plan(tuple(value["captures"]), orderings, published, tuple(value.get("also", ())), value.get("protocol"), filmed)
    for variant in variants_of(plan):
        find_recipe(filmed.get(variant, Filming()).recipe or f"{name}/{variant}")
    return plan


def oracle_plan(name: str, prior: str) -> Plan:
    """The recipe against itself with the exact `prior` ("masks", "depth", "tracks" or "cameras"), on its plan's generated captures with masks and
    depth hidden, cameras too where they are the question.

    FourfoldError if the recipe does not ask for that prior.
    """
    full, variants = find_recipe(f"{name}/full"), all_ablations()[name]
    exact = f"exact_{prior}"
    if exact not in variants:
        asked = ", ".join(variant.removeprefix("exact_") for variant in EXACT if variant in variants)
        raise FourfoldError(f"{name} does not ask for {prior}: choose one of {asked or '(none)'}")
    plan = plan_of(name) if (FOLDER / f"{name}.json").exists() else Plan((suiting_capture(full),), ())
    captures = tuple(f"{capture}{BARE if prior == 'cameras' else HIDDEN}" for capture in plan.captures if capture.startswith("synth_"))
    metrics = ("psnr",) if plan.protocol else ("psnr", "psnr_dynamic")
    return Plan(captures, tuple(Ordering(exact, "full", metric) for metric in (*metrics, "mask_iou")), protocol=plan.protocol)


def check_oracle(prior: str, capture: str) -> None:
    """FourfoldError if on this table's capture an exact `prior` is what both rows have, or none can have."""
    if not capture.startswith("synth_"):
        raise FourfoldError(f"nothing exact is known of {capture}: --oracle takes generated captures, for example synth_casual{HIDDEN}")
    kind = capture.removesuffix(HIDDEN).removesuffix(BARE)
    bare, hidden = capture.endswith(BARE), capture.endswith(HIDDEN)
    if prior == "cameras" and not bare:
        raise FourfoldError(f"{capture} brings its cameras, so that both rows would have exact ones: take {kind}{BARE}")
    if prior != "cameras" and bare:
        raise FourfoldError(
            f"{capture} hides its cameras too, and exact {prior} is told in a world that estimated ones do not share: take {kind}{HIDDEN}"
        )
    if prior in ("masks", "depth") and not hidden:
        raise FourfoldError(f"{capture} brings its {prior}, so that both rows would have exact {prior}: take {kind}{HIDDEN}")


def variants_of(plan: Plan) -> list[str]:
    """The ablations that a plan runs: those of its orderings, then the others."""
    return list(dict.fromkeys([*(v for o in plan.orderings for v in (o.better, o.worse)), *plan.also]))


def suiting_capture(recipe: Recipe) -> str:
    """The generated capture that a recipe was made for, by the cameras it asks for."""
    suits = recipe.suits
    if suits.views[1] == 1 or (suits.views[0] == 1 and suits.video):
        return "synth_orbit360" if suits.arc > 90 else "synth_casual"
    if suits.moving:
        return "synth_sparse_moving"
    return "synth_dense_rig" if suits.views[0] > 4 else "synth_sparse_fixed"


def bench_ablation(
    name: str,
    options: TableOptions,
    captures: Sequence[str] = (),
    variants: Sequence[str] = (),
    say: Say = lambda *_: None,
    oracle: str | None = None,
) -> Row:
    """Rows of every ablation, capture and seed, the published rows, and how often each expected ordering held.

    Args:
        options: `recipes` does not count; `protocol` comes before the plan's.
        captures: benchmark tables to run on, the plan's own if empty; variants: ablations to run, the plan's if empty.
        oracle: a prior that is exact in one of two rows, see `oracle_plan`; None for the recipe's ablations.
    """
    plan = plan_of(name) if oracle is None else oracle_plan(name, oracle)
    for capture in captures if oracle is not None else ():
        check_oracle(oracle or "", capture)
    known = all_ablations()[name]
    chosen = list(variants) or variants_of(plan) or list(known)
    told = replace(
        options,
        recipes=tuple(f"{name}/{variant}" for variant in chosen),
        protocol=options.protocol or plan.protocol,
        filmed={f"{name}/{variant}": way for variant, way in plan.filmed.items()},
    )
    rows: list[Row] = []
    missing: list[str] = []
    how: list[str] = []
    for capture in captures or plan.captures:
        table = bench_table(capture, told, say)
        rows += [row for row in table["rows"] if row["source"] == "ours"]
        missing += table["missing"]
        how += [table["how_to_get"]] if table["how_to_get"] else []
    judged = [judge(rows, name, o) for o in plan.orderings if o.better in chosen and o.worse in chosen]
    tables = [load_published(p.table) for p in plan.published]
    return {
        "name": f"ablation_{name}" if oracle is None else f"oracle_{oracle}_{name}",
        "title": f"Ablations of {name}" if oracle is None else f"What exact {oracle} would give {name}",
        "rows": [*rows, *published_rows(plan, chosen)],
        "orderings": judged,
        "missing": missing,
        "how_to_get": "; ".join(how) or None,
        "notes": [*(sentence(o) for o in judged), *dict.fromkeys(note for table in tables for note in table.notes)],
        "published_source": "; ".join(table.source for table in tables) or None,
    }


def judge(rows: Sequence[Row], name: str, ordering: Ordering) -> dict[str, Any]:
    """Pairs of runs with the same capture and seed: in how many the better one was better, and the sign test's one-sided probability."""
    figures = {(r["recipe"], r["dataset"], r["seed"]): r["metrics"].get(ordering.metric) for r in rows}
    sign = -1.0 if ordering.metric.startswith(LOWER_IS_BETTER) else 1.0
    gaps: list[float] = []
    for (recipe, dataset, seed), value in figures.items():
        other = figures.get((f"{name}/{ordering.worse}", dataset, seed))
        if recipe == f"{name}/{ordering.better}" and value is not None and other is not None:
            gaps.append(sign * (value - other))
    wins, losses = sum(g > 0 for g in gaps), sum(g < 0 for g in gaps)
    mean = sum(gaps) / len(gaps) if gaps else None
    found = {"better": ordering.better, "worse": ordering.worse, "metric": ordering.metric, "pairs": len(gaps), "wins": wins}
    return {**found, "mean_gain": mean, "holds": wins > losses if gaps else None, "p": sign_test(wins, losses)}


def sign_test(wins: int, losses: int) -> float | None:
    """Probability of at least `wins` heads in wins + losses tosses of a fair coin; ties do not count; None without any pair."""
    tosses = wins + losses
    return sum(comb(tosses, k) for k in range(wins, tosses + 1)) / 2**tosses if tosses else None


def sentence(judged: Mapping[str, Any]) -> str:
    """An ordering's outcome in words."""
    head = f"{judged['better']} against {judged['worse']} in {judged['metric']}: "
    if not judged["pairs"]:
        return head + "not measured"
    verdict = "holds" if judged["holds"] else "does not hold"
    probability = "" if judged["p"] is None else f", sign test p = {judged['p']:.3f}"
    return head + f"{verdict}, better in {judged['wins']} of {judged['pairs']} pairs, by {judged['mean_gain']:+.3f} in the mean{probability}"


def published_rows(plan: Plan, chosen: Sequence[str]) -> list[Row]:
    """What the plan's tables say of the ablations `chosen`; each row's data set tells its table too, since an ablation may be in several."""
    rows: list[Row] = []
    for part in plan.published:
        cells = [row for row in load_published(part.table).rows if not part.datasets or row.dataset in part.datasets]
        for variant in chosen:
            for row in (cell for cell in cells if cell.method == part.rows.get(variant)):
                metrics = {k: f.value for k, f in row.figures.items()}
                facts = {"seed": None, "seconds": None, "gaussians": None, "variants": {k: f.variant for k, f in row.figures.items()}}
                where = f"{row.dataset} ({part.table})"
                rows.append({"recipe": f"{variant}: {row.method}", "source": "published", "dataset": where, "metrics": metrics, **facts})
    return rows
