"""Native 4D Gaussians: every point is a Gaussian in space-time, seen in slices."""

from fourfold.density.capped import CappedGrowth
from fourfold.initialize.baseline_scenes import FourDStart
from fourfold.initialize.camera_colors import AddCameraColors
from fourfold.initialize.drop import Drop
from fourfold.recipes.recipe import Rate, Recipe, Stage
from fourfold.recipes.rig_terms import COLORS, SHAPE_RATES
from fourfold.training.samplers import Epochs

RECIPE = Recipe(
    name="fourdgs",
    summary="native 4D Gaussians, seen in slices: a baseline for rigs",
    source="Yang et al. 2024 (spec baselines.md 5), plain colours; laptop rates of spec calibration.md B",
    priors=("masks", "depth", "clouds"),
    initialize=FourDStart(),
    background=(0.4, 0.4, 0.4),
    stages=(
        Stage(
            name="all",
            steps=3000,
            enter=(AddCameraColors(),),
            terms=COLORS,
            rates={
                "free.means": Rate(3e-4, final=0.01, per_extent=True),
                "free.velocity": Rate(1e-3, final=0.1, per_extent=True),
                "free.time_center": Rate(1e-3),  # section 5: as the positions', not decayed
                "free.log_duration": Rate(5e-3),  # section 5: scale_t
                **SHAPE_RATES,
            },
            sampler=Epochs(batch=1),
            density={"free": CappedGrowth(most=80_000, end=0.5)},
        ),
        Stage(name="mean cameras", steps=0, terms=(), rates={}, sampler=Epochs(batch=1), enter=(Drop(),)),
    ),
)
