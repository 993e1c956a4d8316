"""Recipes: every system is data. Module `X` of this folder holds the recipe of that name as `RECIPE`.

A module may also hold `ABLATIONS`, a mapping of names to recipes that are one change away from one of them, "full"; `X/NAME` finds them.
`X/as_published` finds the system with its paper's own numbers (`published/`), `X/exact_depth` the recipe on exact depth (`exact.py`).
"""

from __future__ import annotations

import importlib
import pkgutil

from fourfold.errors import FourfoldError
from fourfold.recipes.exact import exact_variants
from fourfold.recipes.recipe import Recipe


def recipe_names() -> list[str]:
    """Names of all recipes, in alphabetical order."""
    return [recipe.name for recipe in all_recipes()]


def all_recipes() -> list[Recipe]:
    """Every recipe of this folder, in alphabetical order."""
    modules = sorted(info.name for info in pkgutil.iter_modules(__path__))
    found = [getattr(importlib.import_module(f"{__name__}.{module}"), "RECIPE", None) for module in modules]
    return [recipe for recipe in found if isinstance(recipe, Recipe)]


def all_ablations() -> dict[str, dict[str, Recipe]]:
    """Recipe name -> variant -> recipe: what is published, every module's `ABLATIONS`, and those with an exact prior."""
    from fourfold.recipes import published  # its recipes import the parts, which import `recipe`

    found = {name: {"as_published": recipe} for name, recipe in published.AS_PUBLISHED.items()}
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        variants = getattr(importlib.import_module(f"{__name__}.{info.name}"), "ABLATIONS", None)
        if variants:
            base = variants["full"].name if "full" in variants else info.name.removesuffix("_ablations")
            found.setdefault(base, {}).update(variants)
    for base in all_recipes():
        variants = found.setdefault(base.name, {})
        variants.update(exact_variants(variants.setdefault("full", base)))
    return found


def find_recipe(name: str) -> Recipe:
    """The recipe called `name`, or the ablation RECIPE/ABLATION. FourfoldError naming the known ones if there is none."""
    base, slash, ablation = name.partition("/")
    known = all_ablations().get(base, {}) if slash else {recipe.name: recipe for recipe in all_recipes()}
    wanted = ablation if slash else name
    if wanted not in known:
        choices = ", ".join(f"{base}/{k}" if slash else k for k in sorted(known))
        raise FourfoldError(f"there is no recipe {name!r}: " + (f"choose one of {choices}" if known else f"{base} has no ablations"))
    return known[wanted]
