"""Deformable 3D Gaussians: canonical Gaussians and a network that moves them."""

from fourfold.density.annealed_time import AnnealedTime
from fourfold.density.capped import CappedGrowth
from fourfold.initialize.baseline_scenes import DeformableStart
from fourfold.initialize.camera_colors import AddCameraColors
from fourfold.initialize.drop import Drop
from fourfold.recipes.recipe import Rate, Recipe, Stage, Suits
from fourfold.recipes.rig_terms import COLORS, SHAPE_RATES
from fourfold.scene.motion.deformation import Deformation
from fourfold.training.samplers import Epochs

_MEANS = {"free.means": Rate(3e-4, final=0.01, per_extent=True)}

RECIPE = Recipe(
    name="deformable3dgs",
    summary="a network deforms canonical Gaussians: a baseline for any capture",
    source="Yang et al. 2024 (spec baselines.md 1); the paper's network has 8 layers of 256 and 40k steps, a laptop's 4 of 64",
    priors=("masks", "depth", "clouds"),
    initialize=DeformableStart(motion=Deformation(depth=4, width=64, time_waves=6)),
    background=(0.4, 0.4, 0.4),
    suits=Suits(views=(1, 1), moving=True, arc=45.0, video=False, alone=True, rank=80, because="one canonical object that a network bends"),
    stages=(
        Stage(
            name="still",  # section 1: 3000 of 40000 steps without deformation
            steps=230,
            enter=(AddCameraColors(),),
            terms=COLORS,
            rates={**_MEANS, **SHAPE_RATES},
            sampler=Epochs(batch=1),
        ),
        Stage(
            name="deformed",
            steps=2770,
            terms=COLORS,
            rates={"free.weight_*": Rate(8e-4, final=0.1), "free.bias_*": Rate(8e-4, final=0.1), **_MEANS, **SHAPE_RATES},
            sampler=Epochs(batch=1),
            density={"free": AnnealedTime(CappedGrowth(most=60_000, end=0.4))},
        ),
        Stage(name="mean cameras", steps=0, terms=(), rates={}, sampler=Epochs(batch=1), enter=(Drop(),)),
    ),
)
