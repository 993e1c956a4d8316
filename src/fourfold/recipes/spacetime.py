"""Spacetime Gaussians: cubic motion and a radial basis in time, without the colour decoder ("Lite")."""

from fourfold.density.capped import CappedGrowth
from fourfold.initialize.baseline_scenes import PolynomialStart
from fourfold.initialize.camera_colors import AddCameraColors
from fourfold.initialize.drop import Drop
from fourfold.recipes.recipe import Rate, Recipe, Stage
from fourfold.recipes.rig_terms import COLORS, SHAPE_RATES
from fourfold.training.samplers import Epochs

RECIPE = Recipe(
    name="spacetime",
    summary="cubic motion with a temporal radial basis: a baseline for rigs",
    source="Li et al. 2024, Lite (spec baselines.md 3); laptop rates of spec calibration.md B",
    priors=("masks", "depth", "clouds"),
    initialize=PolynomialStart(),
    background=(0.4, 0.4, 0.4),
    stages=(
        Stage(
            name="all",
            steps=3000,
            enter=(AddCameraColors(),),
            terms=COLORS,
            rates={
                "free.means": Rate(3e-4, final=0.01, per_extent=True),
                "free.curve": Rate(5e-4, final=0.1, per_extent=True),  # section 3: 1.75 times the positions'
                "free.turn": Rate(1e-4),
                "free.time_center": Rate(1e-3),  # section 3: 1e-4 for 30k steps
                "free.log_duration": Rate(1e-2),  # section 3: 3e-2
                **SHAPE_RATES,
            },
            sampler=Epochs(batch=2),  # section 3: two cameras, gradients averaged
            density={"free": CappedGrowth(most=80_000, end=0.3)},  # section 3: only the first few growth events
        ),
        Stage(name="mean cameras", steps=0, terms=(), rates={}, sampler=Epochs(batch=1), enter=(Drop(),)),
    ),
)
