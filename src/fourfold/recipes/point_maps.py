"""Fused coloured point maps projected into the images: what MonoFusion's initial geometry shows without any optimisation."""

from fourfold.initialize.drop import Drop
from fourfold.initialize.point_maps import PointMapScene
from fourfold.recipes.recipe import Recipe, Stage
from fourfold.training.samplers import Epochs

RECIPE = Recipe(
    name="point_maps",
    summary="coloured point maps of all cameras, nothing optimised: a baseline for few cameras",
    source="spec monofusion.md 10 (MonST3R's point maps in Wang et al. 2025, Table 1)",
    priors=("masks", "depth"),
    initialize=PointMapScene(),
    background=(0.4, 0.4, 0.4),
    stages=(Stage(name="as it is", steps=0, terms=(), rates={}, sampler=Epochs(batch=1), enter=(Drop(),)),),
)
