"""Spacetime Gaussians for the moving points alone, beside a static scene: the variant with a star of the papers' tables."""

from fourfold.initialize.baseline_scenes import PolynomialStart
from fourfold.initialize.rig_start import RigStart
from fourfold.recipes import spacetime
from fourfold.recipes.rig_terms import beside_static

RECIPE = beside_static(
    spacetime.RECIPE,
    "spacetime_star",
    "cubic motion for what moves, the rest is static: a baseline for rigs",
    PolynomialStart(RigStart(split=True)),
)
