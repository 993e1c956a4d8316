"""Static 3D Gaussian splatting on the same start: the baseline that every moving scene must beat."""

from fourfold.initialize.static_scene import StaticScene
from fourfold.losses.photometric import Photometric
from fourfold.recipes.recipe import Rate, Recipe, Stage, Suits, Term
from fourfold.training.samplers import Epochs

RECIPE = Recipe(
    name="splat3d",
    summary="a static scene, blind to motion: the baseline",
    source="Kerbl et al. 2023 (baselines.md); rates of spec calibration.md, part A",
    priors=("masks", "depth"),
    initialize=StaticScene(),
    suits=Suits(rank=1, because="no recipe for moving scenes is made for these cameras, so the scene is kept static"),
    background=(0.4, 0.4, 0.4),  # calibration: grey costs least where nothing was seen
    stages=(
        Stage(
            name="static",
            steps=1500,
            terms=(Term("rgb", Photometric(ssim=0.2), 1.0),),  # 3DGS equation 7
            rates={
                "static.means": Rate(1.6e-4, final=0.03, per_extent=True),  # 3DGS; decay 10^-1.5 over the stage: calibration A
                "static.log_scale": Rate(5e-3),
                "static.quat_wxyz": Rate(1e-3),
                "static.opacity_logit": Rate(3e-2),  # calibration A
                "static.color_logit": Rate(2e-2),  # 5e-3 of RGB (calibration A) at the sigmoid's steepest slope of 1/4
            },
            sampler=Epochs(batch=1),
            resolution=((0.0, 2), (0.15, 1)),
        ),
    ),
)
