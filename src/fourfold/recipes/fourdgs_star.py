"""Native 4D Gaussians for the moving points alone, beside a static scene: the variant with a star of the papers' tables."""

from fourfold.initialize.baseline_scenes import FourDStart
from fourfold.initialize.rig_start import RigStart
from fourfold.recipes import fourdgs
from fourfold.recipes.rig_terms import beside_static

RECIPE = beside_static(
    fourdgs.RECIPE,
    "fourdgs_star",
    "native 4D Gaussians for what moves, the rest is static: a baseline for rigs",
    FourDStart(RigStart(split=True)),
)
