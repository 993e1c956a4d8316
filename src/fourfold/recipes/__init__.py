"""Recipes: every system is data. Module `X` of this folder holds the recipe of that name as `RECIPE`."""

from __future__ import annotations

import importlib
import pkgutil

from fourfold.errors import FourfoldError
from fourfold.recipes.recipe import Recipe


def recipe_names() -> list[str]:
    """Names of all recipes, in alphabetical order."""
    return [recipe.name for recipe in all_recipes()]


def all_recipes() -> list[Recipe]:
    """Every recipe of this folder, in alphabetical order."""
    modules = sorted(info.name for info in pkgutil.iter_modules(__path__))
    found = [getattr(importlib.import_module(f"{__name__}.{module}"), "RECIPE", None) for module in modules]
    return [recipe for recipe in found if isinstance(recipe, Recipe)]


def find_recipe(name: str) -> Recipe:
    """The recipe called `name`. FourfoldError naming the known ones if there is none."""
    known = {recipe.name: recipe for recipe in all_recipes()}
    if name not in known:
        raise FourfoldError(f"there is no recipe {name!r}: choose one of {', '.join(sorted(known))}")
    return known[name]
