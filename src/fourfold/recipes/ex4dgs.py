"""Ex4DGS: static Gaussians, and moving ones with keyframes and a lifetime with a flat top."""

from fourfold.density.capped import CappedGrowth
from fourfold.initialize.baseline_scenes import KeyframeStart
from fourfold.initialize.camera_colors import AddCameraColors
from fourfold.initialize.drop import Drop
from fourfold.recipes.recipe import Rate, Recipe, Stage
from fourfold.recipes.rig_terms import COLORS, MOVING, SHAPE_RATES, STATIC_RATES
from fourfold.training.samplers import Epochs

RECIPE = Recipe(
    name="ex4dgs",
    summary="keyframed motion beside a static scene: a baseline for rigs",
    source="Lee et al. 2024 (spec sharptimegs_freetimegs.md D); laptop rates of spec calibration.md B",
    priors=("masks", "depth", "clouds"),
    initialize=KeyframeStart(),
    background=(0.4, 0.4, 0.4),
    stages=(
        Stage(
            name="all",
            steps=3000,
            enter=(AddCameraColors(),),
            terms=(*COLORS, *MOVING),
            rates={
                "free.means": Rate(3e-4, final=0.01, per_extent=True),
                "free.shift_keys": Rate(3e-4, final=0.01, per_extent=True),
                "free.quat_keys": Rate(1e-3),
                "free.time_o*": Rate(2e-3),
                "free.log_fade": Rate(5e-3),
                **STATIC_RATES,
                **SHAPE_RATES,
            },
            sampler=Epochs(batch=1),
            density={"free": CappedGrowth(most=55_000, end=0.5)},
        ),
        Stage(name="mean cameras", steps=0, terms=(), rates={}, sampler=Epochs(batch=1), enter=(Drop(),)),
    ),
)
