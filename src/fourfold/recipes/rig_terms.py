"""Losses and rates that the systems for rigs share, so that comparisons compare the systems (spec baselines.md 6)."""

from fourfold.losses.camera_colors import AsCameraSees, SimilarCameras
from fourfold.losses.masks import ForegroundMask
from fourfold.losses.photometric import Photometric
from fourfold.recipes.recipe import Initializer, Rate, Recipe, Term, replace

COLORS = (
    Term("rgb", AsCameraSees(Photometric(ssim=0.2)), 1.0),  # 3DGS equation 7
    Term("cameras", SimilarCameras(), 1e-2),  # calibration B
)

MOVING = (
    Term("rgb_moving", AsCameraSees(Photometric(ssim=0.0, where="foreground")), 1.0),  # calibration B: foreground weight
    Term("mask", ForegroundMask(quantile=1.0), 0.2),  # calibration B
)

STATIC_RATES = {
    "static.means": Rate(1e-4, final=0.01, per_extent=True),  # calibration B: the wall is known, a third of the others
}

SHAPE_RATES = {
    "*.log_scale": Rate(5e-3, final=0.1),  # 3DGS; decay: calibration B
    "*.quat_wxyz": Rate(1e-3),
    "*.opacity_logit": Rate(3e-2, final=0.1),  # calibration B
    "*.color_logit": Rate(2e-2, final=0.1),  # calibration B: 4e-3 of RGB at the sigmoid's steepest slope of 1/4
    "*.sh_rest": Rate(1e-3, final=0.1),
    "cameras.*": Rate(1e-3),  # calibration B
}


def beside_static(recipe: Recipe, name: str, summary: str, initialize: Initializer) -> Recipe:
    """`recipe` for what moves alone, with a static layer of its own rates and losses that know what moves."""
    stages = tuple(
        replace(stage, terms=(*stage.terms, *MOVING), rates={**STATIC_RATES, **stage.rates}) if stage.terms else stage for stage in recipe.stages
    )
    return replace(recipe, name=name, summary=summary, initialize=initialize, stages=stages)
