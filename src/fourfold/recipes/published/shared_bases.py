"""Shape of Motion as released: "SoM n" is section n of spec shape_of_motion.md."""

from fourfold.density.adaptive import AdaptiveControl
from fourfold.initialize.background import BackgroundNumbers
from fourfold.initialize.fit_bases import FitNumbers
from fourfold.initialize.object_layer import ObjectNumbers
from fourfold.initialize.shape_of_motion import BackgroundAndObject
from fourfold.initialize.tracks_to_bases import ClusterNumbers
from fourfold.losses.depth import DepthDisparity, DepthGradient
from fourfold.losses.masks import ForegroundMask, OpaqueEverywhere
from fourfold.losses.photometric import Photometric
from fourfold.losses.regularizers import ScaleVariance
from fourfold.losses.smoothness import BasesAcceleration, RayVelocity, TrackAcceleration
from fourfold.losses.tracks import PARITY, TrackDepth, TrackReprojection
from fourfold.recipes import shape_of_motion
from fourfold.recipes.recipe import Rate, Stage, Term, replace
from fourfold.training.samplers import RandomImages

BATCH, EPOCHS = 8, 500  # SoM 9: an epoch is one step of `BATCH` images for every `BATCH` images of the film
EVERY_QUERY = "tracks2d:" + "|".join(
    (
        "tapir-tracks2d",
        "tracks-archive-tracks2d",
        "tapir_every_frame",
        "tapir-tracks2d-beside",
        "tracks-archive-tracks2d-beside",
        "chained_lucas_kanade",
    )
)
"""TAPIR's tracks from queries of every frame: supplied, else by its weights, else the classical tracker, which the report then says."""
SUPPLIED = ("aligned-disparity-depth", "depth-files-depth", "mosca-depth", "megasam-depth", "tapip3d-depth")
SCALED_DEPTH = "depth:" + "|".join(
    (*SUPPLIED, "given-depth", *(f"{name}-beside" for name in SUPPLIED), "scaled_disparity", "movers", "space_time", "enclosed_sweep", "plane_sweep")
)
"""Depth Anything's relative depth scaled by what the cameras tell (SoM 3): given, else by its weights, else without a network."""
PRIORS = ("masks", SCALED_DEPTH, "flow", EVERY_QUERY, "tracks3d")
WHITE = (1.0, 1.0, 1.0)  # SoM 7
CONTROL = AdaptiveControl(jitter=False)  # SoM 9: its numbers are the defaults of the part

STATIC_RATES = {
    "static.means": Rate(1.6e-4, per_extent=True),
    "static.opacity_logit": Rate(5e-2),
    "static.log_scale": Rate(5e-3, final=0.1, until=0.29),  # to a tenth at step 5000, of 17 500 for 277 images
    "static.quat_wxyz": Rate(1e-3),
    "static.color_logit": Rate(1e-2),
}
"""SoM 9, right column; lengths are shares of the tracks' half extent there and of the scene's here."""
OBJECT_RATES = {
    "object.means": Rate(1.6e-4, per_extent=True),
    "object.opacity_logit": Rate(1e-2),
    "object.log_scale": Rate(5e-3, final=0.1, until=0.29),
    "object.quat_wxyz": Rate(1e-3),
    "object.color_logit": Rate(1e-2),
}
"""SoM 9, left column."""
BASES_RATES = {"object.motion_logits": Rate(1e-2), "object.rotation6d": Rate(1.6e-4), "object.translation": Rate(1.6e-4, per_extent=True)}
TERMS = (
    Term("rgb", Photometric(ssim=0.2), 1.0),
    Term("mask", ForegroundMask(quantile=0.98, layers="object"), 1.0),
    Term("opaque", OpaqueEverywhere(), 1.0),
    Term("depth", DepthDisparity(quantile=0.98), 0.5),
    Term("depth_gradient", DepthGradient(quantile=0.95), 1.0),
    Term("tracks", TrackReprojection(PARITY), 2.0),
    Term("track_depth", TrackDepth(PARITY), 0.1),
    Term("bases_acceleration", BasesAcceleration(), 0.1),
    Term("track_acceleration", TrackAcceleration(), 2.0),
    Term("ray_velocity", RayVelocity(), 1.0),
    Term("scale_variance", ScaleVariance(), 0.01),
)
"""SoM 8, every row, in all steps."""


def start(bases: int, tracked: int) -> BackgroundAndObject:
    """The released start: 100 000 Gaussians behind, `tracked` of movers, clusters by velocity alone (SoM 4 to 6)."""
    moving = ObjectNumbers(
        count=tracked, fitted_tracks=tracked, spacing_share=1.0, clusters=ClusterNumbers(bases=bases, position=0.0), fit=FitNumbers(patience=1000)
    )
    return BackgroundAndObject(BackgroundNumbers(count=100_000, spacing_share=1.0), moving)


def whole(epochs: int) -> Stage:
    """The one stage of `epochs` epochs, without rates, losses and density control."""
    return Stage("joint", steps=1, per_frame=epochs / BATCH, terms=(), rates={}, sampler=RandomImages(BATCH), track_targets=4)


SHAPE_OF_MOTION = replace(
    shape_of_motion.RECIPE,
    source="Wang et al. 2024 as released (shape_of_motion.md 4 to 9)",
    priors=PRIORS,
    initialize=start(bases=10, tracked=40_000),
    background=WHITE,
    stages=(replace(whole(EPOCHS), terms=TERMS, rates=STATIC_RATES | OBJECT_RATES | BASES_RATES, density={"*": CONTROL}),),
)
