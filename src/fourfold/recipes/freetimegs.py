"""FreeTimeGS: Gaussians that appear anywhere at any time and fly straight while they live."""

from fourfold.density.capped import CappedGrowth
from fourfold.density.scored_relocation import ScoredRelocation
from fourfold.initialize.camera_colors import AddCameraColors
from fourfold.initialize.drop import Drop
from fourfold.initialize.timed_clouds import TimedClouds
from fourfold.losses.camera_colors import AsCameraSees, SimilarCameras
from fourfold.losses.lifetime import LifetimeOpacity
from fourfold.losses.masks import ForegroundMask
from fourfold.losses.photometric import Photometric
from fourfold.recipes.recipe import Rate, Recipe, Stage, Suits, Term
from fourfold.training.samplers import Epochs

RECIPE = Recipe(
    name="freetimegs",
    summary="free linear motion with a lifetime, for dense rigs",
    source="FreeTimeGS (spec sharptimegs_freetimegs.md A); laptop rates and the static layer of spec calibration.md B",
    priors=("masks", "depth", "clouds"),
    initialize=TimedClouds(),
    background=(0.4, 0.4, 0.4),  # calibration A: grey costs least where nothing was seen
    suits=Suits(views=(6, 1_000_000), rank=20, because="many cameras see every moment, so Gaussians may come and go freely"),
    stages=(
        Stage(
            name="free",
            steps=3000,
            enter=(AddCameraColors(),),
            terms=(
                Term("rgb", AsCameraSees(Photometric(ssim=0.2)), 1.0),  # A3
                Term("rgb_moving", AsCameraSees(Photometric(ssim=0.0, where="foreground")), 1.0),  # calibration B: foreground weight
                Term("mask", ForegroundMask(quantile=1.0), 0.2),  # calibration B
                Term("lifetime", LifetimeOpacity("free"), 1e-3),  # A3: the paper's 1e-2 is for 30k steps, its re-implementation lowers it
                Term("cameras", SimilarCameras(), 1e-2),  # calibration B
            ),
            rates={
                "free.means": Rate(3e-4, final=0.01, per_extent=True),  # calibration B: twice A5's
                "static.means": Rate(1e-4, final=0.01, per_extent=True),  # calibration B: the wall is known, a third
                "free.velocity": Rate(1.6e-3, final=0.01, per_extent=True),  # A5
                "free.time_center": Rate(2e-3),  # calibration B: 1.6e-4 of the paper is for 30k steps
                "free.log_duration": Rate(5e-3),  # A5
                "*.log_scale": Rate(5e-3, final=0.1),  # A5; decay: calibration B
                "*.quat_wxyz": Rate(1e-3),  # A5
                "*.opacity_logit": Rate(3e-2, final=0.1),  # calibration B
                "*.color_logit": Rate(2e-2, final=0.1),  # calibration B: 4e-3 of RGB at the sigmoid's steepest slope of 1/4
                "*.sh_rest": Rate(1e-3, final=0.1),
                "cameras.*": Rate(1e-3),  # calibration B
            },
            sampler=Epochs(batch=1),
            density={"free": ScoredRelocation(least=0.02), "static": CappedGrowth(most=30_000, absolute=True)},  # A4; the still part grows by half
        ),
        Stage(name="mean cameras", steps=0, terms=(), rates={}, sampler=Epochs(batch=1), enter=(Drop(),)),
    ),
)
