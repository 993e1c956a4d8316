"""What of each paper is here: makes docs/faithful.md and the tables of docs/recipes/ from docs/faithful.yaml.

    python benchmarks/faithful.py

Numbers are read from the recipes, so that no page can tell another than what runs; tests/test_faithful.py fails where a page is not current.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fourfold.recipes import find_recipe, recipe_names
from fourfold.recipes.published import AS_PUBLISHED

DOCS = Path(__file__).parents[1] / "docs"
VERDICTS = ("same", "different", "missing")
BEGIN, END = "<!-- made by benchmarks/faithful.py from faithful.yaml -->", "<!-- end -->"
PLACE = re.compile(r"\{([^{}]+:[^{}]+)\}")


@dataclass(frozen=True)
class Row:
    """A component of a published system.

    Attributes:
        component, source: what, and where it is told.
        verdict: one of `VERDICTS`.
        code: "file::symbol" under src/fourfold, several after commas; test: "file::function" under tests.
        numbers: path in a recipe -> what the paper states; with the verdict "same" they are equal.
        laptop: how the recipe for a laptop differs; why: the reason of what is different or missing.
        of: other recipes that it is about.
    """

    component: str
    source: str
    verdict: str
    code: str = ""
    test: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    laptop: str = ""
    why: str = ""
    of: tuple[str, ...] = ()


@dataclass(frozen=True)
class System:
    """A published system, its recipe's name, and its rows."""

    name: str
    recipe: str
    rows: tuple[Row, ...]

    def value(self, path: str) -> Any:
        """What a recipe has at `path`: "published:", "laptop:" or "RECIPE:", then names of fields, entries, or parts that have that name."""
        whose, _, way = path.partition(":")
        found: Any = find_recipe({"published": f"{self.recipe}/as_published", "laptop": self.recipe}.get(whose, whose))
        for word in way.split("/"):
            found = part(found, word)
        return found

    def told(self, text: str) -> str:
        """`text` with every {path} replaced by the recipe's value."""
        return PLACE.sub(lambda place: number(self.value(place[1])), text)


def part(whole: Any, word: str) -> Any:
    """The entry of a mapping, the part of a sequence by its `name` or place, or the field called `word`."""
    if isinstance(whole, Mapping):
        return whole[word]
    if isinstance(whole, tuple):
        return whole[int(word)] if word.isdigit() else next(one for one in whole if one.name == word)
    return getattr(whole, word)


def number(value: Any) -> str:
    """A number as papers print it."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return re.sub(r"e([+-])0*", lambda m: "e" + m[1].replace("+", ""), text)


def systems(file: Path = DOCS / "faithful.yaml") -> list[System]:
    """What docs/faithful.yaml holds."""
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    return [System(s["name"], s["recipe"], tuple(Row(**row | {"of": tuple(row.get("of", ()))}) for row in s["rows"])) for s in data]


def page(found: list[System]) -> str:
    """docs/faithful.md."""
    every = Counter(row.verdict for system in found for row in system.rows)
    lines = [
        "# What of each paper is here",
        "",
        f"{sum(every.values())} components of eight systems and their baselines: {every['same']} the same, {every['different']} different, "
        f"{every['missing']} missing.",
        "Same: the paper's definition and numbers, in `RECIPE/as_published` at least; how the recipe for a laptop differs stands beside it. Where a",
        "paper's text and its released program differ, the row says which of them it is. Numbers in the columns are read from the recipes.",
        "",
        "`python benchmarks/faithful.py` makes this page and the tables of [recipes](recipes) from [faithful.yaml](faithful.yaml);",
        "`tests/test_faithful.py` holds every row against the code: file, symbol, test and number. Code is in `src/fourfold`, tests in `tests`.",
        "",
        "| system | same | different | missing |",
        "|---|---|---|---|",
    ]
    for system in found:
        count = Counter(row.verdict for row in system.rows)
        lines.append(f"| {system.name} | " + " | ".join(str(count[v]) for v in VERDICTS) + " |")
    for system in found:
        lines += ["", f"## {system.name}", "", "| component | told in | verdict | code and test | remark |", "|---|---|---|---|---|"]
        for row in system.rows:
            where = "<br>".join(f"`{one.strip()}`" for one in (*row.code.split(","), row.test) if one.strip())
            lines.append(f"| {row.component} | {row.source} | {row.verdict} | {where or '-'} | {remark(system, row)} |")
    return "\n".join(lines) + "\n"


def about(recipe: str, found: list[System]) -> list[tuple[System, Row]]:
    """The rows that are about a recipe."""
    return [(system, row) for system in found for row in system.rows if (recipe == system.recipe and not row.of) or recipe in row.of]


def table(recipe: str, found: list[System]) -> str:
    """The tables of a recipe's page: what the paper has and how the recipe compares, then the recipe in numbers."""
    lines = ["| what the paper has | here | on a laptop | code |", "|---|---|---|---|"]
    for system, row in about(recipe, found):
        code = "<br>".join(f"`{one.partition('::')[0].strip()}`" for one in row.code.split(",") if one) or "-"
        verdict = row.verdict if not row.why else f"{row.verdict}: {system.told(row.why)}"
        lines.append(f"| {row.component} | {verdict} | {system.told(row.laptop) or ('the same' if row.verdict == 'same' else '')} | {code} |")
    parts = ["\n".join(lines)] if len(lines) > 2 else []
    return "\n\n".join([*parts, in_numbers(recipe)])


def in_numbers(name: str) -> str:
    """Stages, losses and rates of a recipe, and of the system as published, as they are in the code."""
    lines = ["| | stage | steps | batch | losses (weight) | rates at the start |", "|---|---|---|---|---|---|"]
    published = [("as published", AS_PUBLISHED[name])] if name in AS_PUBLISHED else []
    for title, recipe in [("laptop", find_recipe(name)), *published]:
        for stage in recipe.stages:
            if not stage.steps:
                continue
            steps = f"{number(stage.per_frame)} an image" if stage.per_frame else number(stage.steps)
            steps += f", {number(stage.steps)} to {number(stage.most)}" if stage.most else ""
            steps += f" (one camera: {number(stage.most_alone)})" if stage.most_alone else ""
            losses = ", ".join(f"{t.name} {number(float(t.weight))}" for t in stage.terms)
            rates = ", ".join(f"`{pattern}` {number(rate.start)}" for pattern, rate in stage.rates.items())
            lines.append(f"| {title} | {stage.name} | {steps} | {getattr(stage.sampler, 'batch', 1)} | {losses} | {rates} |")
            title = ""
    return "\n".join(lines)


def remark(system: System, row: Row) -> str:
    """The numbers that were compared, how the laptop's recipe differs, and why."""
    stated = ", ".join(dict.fromkeys(f"{label(path)} {number(value)}" for path, value in row.numbers.items()))
    parts = [system.told(row.why), f"laptop: {system.told(row.laptop)}" if row.laptop else "", f"held: {stated}" if stated and not row.why else ""]
    return "; ".join(one for one in parts if one)


def label(path: str) -> str:
    """What a number is called: its field, or the term or rate whose weight or start it is."""
    *_, owner, field_name = path.split("/")
    return owner if field_name in ("weight", "start") else f"{owner} {field_name}" if field_name in ("begin", "end") else field_name.replace("_", " ")


def with_table(text: str, new: str) -> str:
    """`text` with what stands between the two marks replaced. ValueError without them."""
    if BEGIN not in text or END not in text:
        raise ValueError(f"a page has no place for its table: {BEGIN} ... {END}")
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n\n{new}\n\n{END}{rest.partition(END)[2]}"


def pages() -> dict[Path, str]:
    """Every page that is made here, as it should be."""
    found = systems()
    made = {DOCS / "faithful.md": page(found)}
    for name in recipe_names():
        file = DOCS / "recipes" / f"{name}.md"
        made[file] = with_table(file.read_text(encoding="utf-8"), table(name, found))
    return made


if __name__ == "__main__":
    for file, text in pages().items():
        file.write_text(text, encoding="utf-8")
        print(file)
