"""MoSca for a laptop: one moving camera, Gaussians carried by a motion scaffold.

"M n" is section n of spec mosca.md; "cal. X" is part X of spec calibration.md. The paper trains 8000 steps after 1500 geometric ones on a GPU;
here are 3300 as for Shape of Motion, whose rates of Gaussians are taken over. Depth units of MoSca are extents here.
"""

from fourfold.density.adaptive import AdaptiveControl
from fourfold.density.scaffold_nodes import ScaffoldControl
from fourfold.initialize.background import BackgroundNumbers
from fourfold.initialize.fill_holes import FillHoles
from fourfold.initialize.scaffold import BackgroundAndScaffold
from fourfold.losses.masks import ForegroundMask, OpaqueEverywhere
from fourfold.losses.normalised_depth import NormalisedDepth
from fourfold.losses.photometric import Photometric
from fourfold.losses.scaffold import ScaffoldRigidity, ScaffoldSmoothness
from fourfold.losses.tracks import TrackReprojection
from fourfold.recipes.recipe import Rate, Recipe, Stage, Suits, Term
from fourfold.recipes.shape_of_motion import STATIC_RATES
from fourfold.training.samplers import Epochs

OBJECT_RATES = {
    "object.means": Rate(1.6e-4, final=0.01, per_extent=True),  # M 9
    "object.log_scale": Rate(5e-3),  # M 9
    "object.quat_wxyz": Rate(1e-3),  # M 9
    "object.opacity_logit": Rate(1e-2),  # M 9: 5e-2 of opacities that start at 0.02; here they start high
    "object.color_logit": Rate(2e-2),  # cal. A
    "object.node_xyz": Rate(6e-4, final=0.1, per_extent=True),  # M 9: 3e-4; nodes have a third of the paper's steps to get as far
    "object.node_quat": Rate(4e-3, final=0.1),  # M 9: 3e-4, for the demo 1e-3; as the bases of shape_of_motion
    "object.radius_logit": Rate(3e-3),  # M 9
}
TERMS = (
    Term("rgb", Photometric(ssim=0.1), 1.0),  # M 9: |.| summed over channels + 0.1 (1 - SSIM); here 0.9 times their mean
    Term("mask", ForegroundMask(quantile=0.98, layers="object"), 0.3),  # ours: with few Gaussians, who owns a pixel must be said
    Term("opaque", OpaqueEverywhere(), 1.0),  # ours, as in shape_of_motion
    Term("depth", NormalisedDepth(), 0.03),  # M 9: 0.1 beside a sum over three channels; here rgb is their mean
    Term("tracks", TrackReprojection(), 2.0, end=0.5),  # M 9: 0.1 of pixels; here shares of the image side
    # M 9: 10 for rigidity and 5 for velocity and acceleration beside a sum over three channels, at 60 frames per second and after 8000 steps.
    # Both are norms of changes from knot to knot, which grow with the time between knots; at 24 or 30 frames per second and in 2400 steps
    # such weights hold movers where the geometric stage left them: their images blur, in held-out cameras most of all.
    Term("rigid", ScaffoldRigidity(), 0.3),
    Term("smooth", ScaffoldSmoothness(), 0.01),
)
GROWTH = ScaffoldControl(
    gaussians=AdaptiveControl(start=100, stop=1500, every=300, reset_every=0, cull_opacity=0.01, threshold=2e-4, most=20_000)
)  # M 9

RECIPE = Recipe(
    name="mosca",
    summary="one moving camera: static background, movers on a motion scaffold",
    source="Lei et al. 2024 (mosca.md); schedule of calibration.md, part E",
    priors=("masks", "depth:bundled", "flow", "tracks2d", "tracks3d"),  # M 4
    initialize=BackgroundAndScaffold(BackgroundNumbers(count=55_000), static_largest=0.1),  # M 8 and spec sparse_dynamic_cameras.md 3: bounded by 0.1
    background=(0.4, 0.4, 0.4),
    suits=Suits(  # 12 images, docs/recipes/auto.md: lives that other moments confirm need more of them
        views=(1, 1),
        moving=True,
        video=True,
        images=(1, 20),
        rank=75,
        because="one camera and few images; movers hang on a scaffold of nodes",
    ),
    stages=(
        Stage(
            name="static",
            steps=900,
            layers=("static",),
            terms=(Term("rgb", Photometric(ssim=0.2, where="background"), 1.0),),
            rates=STATIC_RATES,
            sampler=Epochs(batch=1),
            resolution=((0.0, 2), (0.15, 1)),
        ),
        Stage(
            name="joint",
            steps=2400,
            enter=(FillHoles(),),
            terms=TERMS,
            rates=STATIC_RATES | OBJECT_RATES,
            sampler=Epochs(batch=1),  # M 9: one image per step
            resolution=((0.0, 2), (0.15, 1)),
            density={"object": GROWTH},
            track_targets=2,
        ),
    ),
)
