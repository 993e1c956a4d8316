"""Dynamic 3D Gaussians: the first moment is built, then carried from moment to moment with local rigidity."""

from fourfold.density.capped import CappedGrowth
from fourfold.initialize.baseline_scenes import PerFrameStart
from fourfold.initialize.camera_colors import AddCameraColors
from fourfold.initialize.drop import Drop
from fourfold.initialize.neighbours import FixNeighbours
from fourfold.losses.neighbours import Neighbourly
from fourfold.recipes.recipe import Rate, Recipe, Stage, Term
from fourfold.recipes.rig_terms import COLORS, MOVING, SHAPE_RATES, STATIC_RATES
from fourfold.training.online import FirstMoment, Forward
from fourfold.training.samplers import Epochs

RECIPE = Recipe(
    name="dynamic3dgs",
    summary="Gaussians carried through time with local rigidity: a baseline for rigs",
    source="Luiten et al. 2024 (spec baselines.md 4): 10k steps for the first moment and 2k for each later one, a laptop's 1000 and about 70",
    priors=("masks", "depth", "clouds"),
    initialize=PerFrameStart(),
    background=(0.4, 0.4, 0.4),
    stages=(
        Stage(
            name="first",
            steps=1000,
            enter=(AddCameraColors(),),
            terms=(*COLORS, *MOVING),
            rates={"free.means": Rate(3e-4, final=0.1, per_extent=True), **STATIC_RATES, **SHAPE_RATES},
            sampler=FirstMoment(),
            density={"free": CappedGrowth(most=12_000)},
        ),
        Stage(
            name="onward",  # section 4: opacity, size, cameras and background stay; colours hardly change
            steps=2000,
            enter=(FixNeighbours("free"),),
            terms=(
                *COLORS,
                *MOVING,
                Term("rigid", Neighbourly("rigid"), 4.0),
                Term("rotation", Neighbourly("rotation"), 4.0),
                Term("isometry", Neighbourly("isometry"), 2.0),
            ),
            rates={"free.bend_*": Rate(1e-3, per_extent=True), "free.twist_*": Rate(4e-3)},  # 1.6e-4 and 1e-3 for 2k steps a moment
            sampler=Forward(),
        ),
        Stage(name="mean cameras", steps=0, terms=(), rates={}, sampler=Epochs(batch=1), enter=(Drop(),)),
    ),
)
