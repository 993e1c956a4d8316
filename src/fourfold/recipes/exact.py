"""Recipes with one prior replaced by a generated capture's exact truth: which prior costs how much."""

from __future__ import annotations

from collections.abc import Mapping

from fourfold.recipes.recipe import Recipe, replace

EXACT: Mapping[str, Mapping[str, str]] = {
    "exact_masks": {"masks": "truth-masks"},
    "exact_depth": {"depth": "truth-depth"},
    "exact_cameras": {"cameras": "truth-cameras"},
    "exact_tracks": {"tracks2d": "truth-tracks", "tracks3d": "truth-tracks"},
}
"""Ablation -> prior -> the provider that is insisted on."""


def exact_variants(recipe: Recipe) -> dict[str, Recipe]:
    """The variants of `recipe` for the priors that it asks for."""
    found: dict[str, Recipe] = {}
    for name, providers in EXACT.items():
        asked = ("cameras", *recipe.priors) if "cameras" in providers else recipe.priors  # they are known, whether a recipe names them or not
        priors = tuple(_insisting(prior, providers) for prior in asked)
        if priors != recipe.priors:
            found[name] = replace(recipe, priors=priors)
    return found


def _insisting(prior: str, providers: Mapping[str, str]) -> str:
    kind = prior.partition(":")[0]
    return f"{kind}:{providers[kind]}" if kind in providers else prior
