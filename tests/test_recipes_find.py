"""Recipes are found by scanning their folder, and are data that hangs together."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

import fourfold.recipes
from fourfold.errors import FourfoldError
from fourfold.files import key_of
from fourfold.priors.contracts import Priors
from fourfold.recipes import all_ablations, all_recipes, find_recipe, recipe_names
from fourfold.recipes.recipe import Recipe

FOLDER = Path(fourfold.recipes.__file__).parent


def test_the_names_are_the_modules_names() -> None:
    assert {"shape_of_motion", "splat3d"} <= set(recipe_names())
    for recipe in all_recipes():
        assert (FOLDER / f"{recipe.name}.py").exists() and find_recipe(recipe.name) is recipe


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(FourfoldError, match=r"no recipe 'shape_of_moton'.*shape_of_motion.*splat3d"):
        find_recipe("shape_of_moton")


@pytest.mark.parametrize("recipe", all_recipes(), ids=lambda recipe: recipe.name)
def test_a_recipe_hangs_together(recipe: Recipe) -> None:
    assert recipe.summary and recipe.source and recipe.stages
    assert {name.partition(":")[0] for name in recipe.priors} <= {f.name for f in fields(Priors)}
    assert len({stage.name for stage in recipe.stages}) == len(recipe.stages)
    for stage in recipe.stages:
        if stage.steps == 0:
            assert stage.enter, "a stage without steps only edits the scene"
            continue
        assert stage.terms and stage.rates and stage.resolution[0][0] == 0.0
        assert [begin for begin, _ in stage.resolution] == sorted(begin for begin, _ in stage.resolution)
        assert stage.resolution[-1][1] == 1, "the last steps see the images as they are"
        assert len({term.name for term in stage.terms}) == len(stage.terms)
        assert all(term.weight >= 0 and term.begin < term.end for term in stage.terms)
        assert all(rate.start > 0 and 0 < rate.final <= 1 for rate in stage.rates.values())
        assert all("." in pattern for pattern in stage.rates)
    assert key_of(recipe) == key_of(find_recipe(recipe.name))


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda file: file.stem)
def test_a_recipe_is_short(file: Path) -> None:
    if file.stem not in ("__init__", "recipe", "auto"):
        assert len(file.read_text().splitlines()) < 120


def test_every_provider_that_a_recipe_or_an_ablation_names_exists() -> None:
    from fourfold.priors.providers import all_providers

    made = {(prior, provider.name) for provider in all_providers() for prior in provider.makes}
    recipes = {recipe.name: recipe for recipe in all_recipes()}
    recipes |= {f"{base}/{name}": recipe for base, variants in all_ablations().items() for name, recipe in variants.items()}
    assert len(recipes) > 40
    for name, recipe in recipes.items():
        for prior in recipe.priors:
            kind, colon, providers = prior.partition(":")
            assert not colon or all((kind, one) in made for one in providers.split("|") if one != "any"), (name, prior)
