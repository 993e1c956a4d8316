"""Shape of Motion for a laptop: one moving camera, a static background, movers on shared SE(3) bases.

"SoM n" is section n of spec shape_of_motion.md; "cal. X" is part X of spec calibration.md. Lengths are told in extents of the scene.
The paper trains 17 500 steps of 8 images; here are some 3 300 of one, so rates of the object are those that worked at that length (cal. E).
"""

from fourfold.initialize.background import BackgroundNumbers
from fourfold.initialize.fill_holes import FillHoles
from fourfold.initialize.object_layer import ObjectNumbers
from fourfold.initialize.residual_layer import ResidualLayer
from fourfold.initialize.settle_scale import SettleScale
from fourfold.initialize.shape_of_motion import BackgroundAndObject
from fourfold.losses.depth import DepthDisparity, DepthGradient
from fourfold.losses.masks import ForegroundMask, OpaqueEverywhere
from fourfold.losses.photometric import Photometric
from fourfold.losses.regularizers import LittleOpacity, ScaleVariance
from fourfold.losses.smoothness import BasesAcceleration, RayVelocity, TrackAcceleration
from fourfold.losses.tracks import TrackDepth, TrackReprojection
from fourfold.recipes.recipe import Rate, Recipe, Stage, Term
from fourfold.training.samplers import Epochs

STATIC_RATES = {
    "static.means": Rate(1.6e-4, final=0.03, per_extent=True),  # SoM 9; decay 10^-1.5 over the stage: cal. A
    "static.log_scale": Rate(5e-3, final=0.2),  # SoM 9
    "static.quat_wxyz": Rate(1e-3),  # SoM 9
    "static.opacity_logit": Rate(3e-2, final=0.3),  # cal. A
    "static.color_logit": Rate(2e-2, final=0.3),  # 5e-3 of RGB (cal. A) at the sigmoid's steepest slope of 1/4
}
OBJECT_RATES = {
    "object.means": Rate(8e-5, final=0.03, per_extent=True),  # half the background's: cal. A
    "object.log_scale": Rate(5e-3),  # SoM 9
    "object.quat_wxyz": Rate(1e-3),  # SoM 9
    "object.opacity_logit": Rate(1e-2),  # SoM 9
    "object.color_logit": Rate(2e-2),  # cal. A
    "object.motion_logits": Rate(1e-2),  # SoM 9
    "object.rotation6d": Rate(4e-3, final=0.1),  # cal. A: 4e-3 for the quaternion of the body
    "object.translation": Rate(7e-4, final=0.1, per_extent=True),  # cal. A: 2e-3 where the object is three units away
}
FREE_RATES = {
    "free.means": Rate(1.6e-4, final=0.03, per_extent=True),  # cal. E
    "free.log_scale": Rate(5e-3),
    "free.quat_wxyz": Rate(1e-3),
    "free.opacity_logit": Rate(3e-2),
    "free.color_logit": Rate(2e-2),
    "free.velocity": Rate(4e-3, final=0.1, per_extent=True),  # cal. E: 1e-3 a frame; here extents a second
    "free.time_center": Rate(3e-4),  # cal. E: 1e-2 frames; seconds
    "free.log_duration": Rate(5e-3),  # cal. B
}
MOVING_TERMS = (
    Term("rgb", Photometric(ssim=0.2), 1.0),  # SoM 8
    Term("mask", ForegroundMask(quantile=0.98, layers="object"), 1.0),  # SoM 8
    Term("opaque", OpaqueEverywhere(), 1.0),  # SoM 8
    Term("tracks", TrackReprojection(), 2.0, end=0.5),  # SoM 8; the images place the object better than tracks in the end
    Term("track_depth", TrackDepth(), 0.1, end=0.5),  # SoM 8
    Term("bases_acceleration", BasesAcceleration(typical=2e-2), 0.1),  # SoM 8
    Term("track_acceleration", TrackAcceleration(typical=2e-3), 2.0),  # SoM 8
    Term("ray_velocity", RayVelocity(), 1.0),  # SoM 8, "z accel"
    Term("scale_variance", ScaleVariance(), 0.01),  # SoM 8
    Term("depth", DepthDisparity(quantile=0.98), 0.5),  # SoM 8
    Term("depth_gradient", DepthGradient(quantile=0.95), 1.0),  # SoM 8
)

RESIDUAL = Stage(
    name="residual",
    steps=400,
    enter=(ResidualLayer(),),  # cal. E: always; outside the movers' masks, where the trained scene still fails
    terms=(
        Term("rgb", Photometric(ssim=0.2), 1.0),
        Term("opaque", OpaqueEverywhere(), 1.0),
        Term("little_opacity", LittleOpacity("free"), 2e-4),  # cal. E
    ),
    rates=STATIC_RATES | FREE_RATES,
    sampler=Epochs(batch=1),
)
"""What no mover explains, when the movers are done: trained along, such Gaussians take over a part of the movers' images and float about from the
side (1.1 dB of what moves and 1.8 dB of the whole on the generated `branches`)."""

RECIPE = Recipe(
    name="shape_of_motion",
    summary="one moving camera: static background, movers on shared rigid motion bases",
    source="Wang et al. 2024 (shape_of_motion.md); schedule of calibration.md, part E",
    priors=("masks", "depth", "flow", "tracks2d", "tracks3d"),
    initialize=BackgroundAndObject(BackgroundNumbers(count=55_000), ObjectNumbers(count=14_000)),  # cal. E: 60k + 14k
    background=(0.4, 0.4, 0.4),  # cal. E: grey costs least where nothing was seen; the paper uses white
    stages=(
        Stage(
            name="static",
            steps=900,  # cal. E
            layers=("static",),
            terms=(Term("rgb", Photometric(ssim=0.2, where="background"), 1.0),),
            rates=STATIC_RATES,
            sampler=Epochs(batch=1),
            resolution=((0.0, 2), (0.15, 1)),
        ),
        Stage(
            name="object",
            steps=400,  # cal. A: 240 rigid and 200 coarse steps with the background frozen
            enter=(FillHoles(),),
            terms=MOVING_TERMS,
            rates=OBJECT_RATES,
            sampler=Epochs(batch=1),
            resolution=((0.0, 4), (0.3, 2), (0.6, 1)),
            track_targets=2,  # SoM 7: four; two cost half and are redrawn every step
        ),
        Stage(
            name="joint",
            steps=1600,  # cal. E, "bigger": three minutes on two cores
            enter=(SettleScale(),),
            terms=MOVING_TERMS,
            rates=STATIC_RATES | OBJECT_RATES,
            sampler=Epochs(batch=1),
            track_targets=2,
        ),
        RESIDUAL,
    ),
)
