"""MonoFusion as published, its Tables 4 and 5 to the letter: "MF n" is section n of spec monofusion.md."""

from fourfold.density.adaptive import AdaptiveControl
from fourfold.initialize.background import BackgroundNumbers
from fourfold.initialize.monofusion import ForegroundNumbers, MonoFusionStart
from fourfold.losses.depth import DepthDisparity, DepthGradient
from fourfold.losses.features import FeatureDistance
from fourfold.losses.masks import ForegroundMask, OpaqueEverywhere
from fourfold.losses.photometric import Photometric
from fourfold.losses.regularizers import ScaleVariance
from fourfold.losses.smoothness import BasesAcceleration, RayVelocity, TrackAcceleration
from fourfold.losses.tracks import TrackDepth, TrackReprojection
from fourfold.priors.features.motion_groups import GroupNumbers
from fourfold.recipes import monofusion
from fourfold.recipes.recipe import Rate, Stage, Term, replace
from fourfold.training.samplers import RandomImages

RATES = {
    "object.means": Rate(1.6e-4, per_extent=True),
    "object.opacity_logit": Rate(1e-2),
    "object.log_scale": Rate(5e-3, final=0.1),  # MF 8: scales alone decay, to a tenth
    "object.quat_wxyz": Rate(1e-3),
    "object.feature": Rate(1e-3),
    "object.motion_logits": Rate(1e-3),
    "object.rotation6d": Rate(1.6e-4),
    "object.translation": Rate(1.6e-4, per_extent=True),
    "static.means": Rate(1.6e-4, per_extent=True),
    "static.opacity_logit": Rate(1e-2),
    "static.log_scale": Rate(1e-3, final=0.1),
    "static.quat_wxyz": Rate(1e-3),
    "static.color_logit": Rate(1e-2),
    "static.feature": Rate(1e-3),
}
"""Table 4. Without `object.color_logit`: the foreground's colours stay those of its pixels."""
TERMS = (
    Term("rgb", Photometric(ssim=0.2), 7.0),
    Term("mask", ForegroundMask(quantile=0.98, layers="object"), 5.0),
    Term("opaque", OpaqueEverywhere(), 5.0),  # the mask's first part, MF 7
    Term("features", FeatureDistance(), 7.0),
    Term("depth", DepthDisparity(quantile=0.98), 1.0),
    Term("track_depth", TrackDepth(), 0.1),  # "depth.const"
    Term("depth_gradient", DepthGradient(quantile=0.95), 0.1),
    Term("tracks", TrackReprojection(), 2.0),
    Term("bases_acceleration", BasesAcceleration(), 0.1),
    Term("track_acceleration", TrackAcceleration(), 2.0),
    Term("scale_variance", ScaleVariance(), 0.01),
    Term("ray_velocity", RayVelocity(), 1.0),
)
"""Table 5, every row; equation 11 has no weight there and is left out."""
CONTROL = AdaptiveControl(start=50, stop=4000, every=70, reset_every=2100, reset_opacity=0.12, cull_opacity=0.1)  # MF 8
BATCH = 32  # MF 8: eight frames of each of four cameras

MONOFUSION = replace(
    monofusion.RECIPE,
    source="Wang et al. 2025, Tables 4 and 5 (spec monofusion.md)",
    priors=("masks", "depth:monst3r_on_dust3r|any", "features", "tracks2d"),
    initialize=MonoFusionStart(
        background=BackgroundNumbers(count=1_200_000),  # MF 4
        foreground=ForegroundNumbers(groups=GroupNumbers(position=0.0)),  # MF 5: 40 groups by features alone, identity trajectories
        fill_unseen=False,
    ),
    background=(1.0, 1.0, 1.0),  # MF 6
    stages=(Stage("joint", steps=5000, terms=TERMS, rates=RATES, sampler=RandomImages(BATCH), density={"*": CONTROL}, track_targets=4),),
)
