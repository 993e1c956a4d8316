"""FreeTimeGS: Gaussians that appear anywhere at any time and fly straight while they live."""

from fourfold.density.scored_relocation import ScoredRelocation
from fourfold.initialize.timed_clouds import TimedClouds
from fourfold.losses.lifetime import LifetimeOpacity
from fourfold.losses.photometric import Photometric
from fourfold.recipes.recipe import Rate, Recipe, Stage, Suits, Term
from fourfold.training.samplers import Epochs

RECIPE = Recipe(
    name="freetimegs",
    summary="free linear motion with a lifetime, for dense rigs",
    source="FreeTimeGS (spec sharptimegs_freetimegs.md A); laptop rates of spec calibration.md B",
    priors=("masks", "depth"),
    initialize=TimedClouds(),
    background=(0.4, 0.4, 0.4),  # calibration A: grey costs least where nothing was seen
    suits=Suits(views=(6, 1_000_000), rank=20, because="many cameras see every moment, so Gaussians may come and go freely (freetimegs)"),
    stages=(
        Stage(
            name="free",
            steps=2500,
            terms=(
                Term("rgb", Photometric(ssim=0.2), 1.0),  # A3
                Term("lifetime", LifetimeOpacity("free"), 1e-2),  # A3, the paper's lambda
            ),
            rates={
                "free.means": Rate(1.6e-4, final=0.01, per_extent=True),  # A5
                "free.velocity": Rate(1.6e-3, final=0.01, per_extent=True),  # A5
                "free.time_center": Rate(2e-3),  # calibration B: 1.6e-4 of the paper is for 30k steps
                "free.log_duration": Rate(5e-3),  # A5
                "free.log_scale": Rate(5e-3),  # A5
                "free.quat_wxyz": Rate(1e-3),  # A5
                "free.opacity_logit": Rate(5e-2, final=0.2),  # A5
                "free.color_logit": Rate(2e-2, final=0.1),  # calibration B: 4e-3 of RGB at the sigmoid's steepest slope of 1/4
            },
            sampler=Epochs(batch=1),
            density={"free": ScoredRelocation()},  # A4
            resolution=((0.0, 2), (0.15, 1)),
        ),
    ),
)
