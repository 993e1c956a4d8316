"""A few cameras, nothing learned: movers as Gaussians that live on shared motion bases only as long as other moments confirm them.

Our own, from parts of Shape of Motion (bases; "SoM n" is section n of spec shape_of_motion.md) and SharpTimeGS (flat-top lives; "Sharp n" of
spec sharptimegs_freetimegs.md); "cal. X" is part X of spec calibration.md. There is no loss on depth and none on tracks: both are evidence at
the start, where they can be weighed, and images decide afterwards. See docs/recipes/lived_bases.md.
"""

from fourfold.initialize.background import BackgroundNumbers
from fourfold.initialize.fill_holes import FillHoles
from fourfold.initialize.fill_moments import FillMoments
from fourfold.initialize.flat_to_camera import FlatToCamera
from fourfold.initialize.lived_bases import BackgroundAndLives, LivedMovers, LivedNumbers
from fourfold.initialize.residual_layer import ResidualLayer
from fourfold.initialize.static_scene import StaticScene
from fourfold.losses.masks import ForegroundMask, OpaqueEverywhere
from fourfold.losses.photometric import Photometric
from fourfold.losses.regularizers import LittleOpacity
from fourfold.recipes.recipe import InChunks, Rate, Recipe, Stage, Suits, Term, replace
from fourfold.recipes.shape_of_motion import FREE_RATES, STATIC_RATES
from fourfold.training.samplers import Epochs

STILL_RATES = STATIC_RATES | {  # a start is round and evenly large; what is drawn well is neither, and a few hundred steps have to bring it there
    "static.log_scale": Rate(4e-2, final=0.2),  # eight times SoM 9: docs/performance.md, "Less to draw"
    "static.quat_wxyz": Rate(8e-3),
    "static.opacity_logit": Rate(6e-2, final=0.3),
}
BRIEF_RATES = FREE_RATES | {
    "free.log_scale": Rate(3e-2, final=0.2),
    "free.quat_wxyz": Rate(6e-3, final=0.2),
    "free.opacity_logit": Rate(6e-2, final=0.2),
}
LIVED_RATES = {  # none for lives: evidence has decided them, and what one image at a time says would shorten them
    "object.means": Rate(0.1, final=0.1, per_pixel=True),  # pixels: a mover may be a twentieth as far away as what is behind it
    "object.log_scale": Rate(1e-2, final=0.3),  # more (as of what stands still) is better on the filmed path and worse from the side
    "object.quat_wxyz": Rate(1e-3),  # SoM 9
    "object.opacity_logit": Rate(3e-2, final=0.3),  # cal. E
    "object.color_logit": Rate(2e-2, final=0.3),  # cal. A
    "object.motion_logits": Rate(1e-2, final=0.3),  # SoM 9
    "object.rotation6d": Rate(4e-3, final=0.1),  # cal. A
    "object.translation": Rate(0.02, final=0.1, per_pixel=True),  # a knot moves on for ten steps after each image of its moment
}

STATIC = Stage(
    name="static",
    steps=270,
    per_frame=12,  # an image that was seen so often tells hardly more
    most=540,
    layers=("static",),
    terms=(Term("rgb", Photometric(ssim=0.2, where="background"), 1.0),),
    rates=STILL_RATES,
    sampler=Epochs(batch=1),
    resolution=((0.0, 2), (0.15, 1)),
)
MOVING_TERMS = (
    Term("rgb", Photometric(ssim=0.2), 1.0),
    Term("rgb_movers", Photometric(ssim=0.0, where="foreground"), 1.0),  # movers fill few pixels
    Term("mask", ForegroundMask(quantile=0.98, layers="object"), 0.3),
    Term("opaque", OpaqueEverywhere(), 1.0),  # SoM 8
)
MOVERS = Stage(
    name="movers",
    steps=420,
    per_frame=19,
    most=840,
    most_alone=1680,
    enter=(FillHoles(),),
    terms=MOVING_TERMS,
    rates=STILL_RATES | LIVED_RATES,
    sampler=Epochs(batch=1),
)
JOINT = Stage(
    name="joint",
    steps=300,
    per_frame=14,
    most=600,
    most_alone=1200,
    enter=(
        FlatToCamera(),
        ResidualLayer(inside_movers=True),
    ),  # once the rest has settled: what fails before is not yet trained, and such Gaussians show from the side
    terms=(*MOVING_TERMS, Term("little_opacity", LittleOpacity("free"), 2e-4)),  # cal. E
    rates=STILL_RATES | LIVED_RATES | BRIEF_RATES,
    sampler=Epochs(batch=1),
)
MOMENTS = Stage(  # steps and bobs are faster than cubics
    name="moments", steps=0, terms=(), rates={}, sampler=Epochs(batch=1), enter=(FillMoments(), FlatToCamera())
)
BACKGROUND = BackgroundNumbers(count=55_000)

RECIPE = Recipe(
    name="lived_bases",
    summary="one to five cameras: static background, movers on shared rigid motion bases, each Gaussian alive as long as it is confirmed",
    source="ours: SE(3) bases of Wang et al. 2024, lifespans of SharpTimeGS 2026; docs/recipes/lived_bases.md",
    priors=("masks", "depth", "flow", "longtracks", "tracks2d", "tracks3d"),
    initialize=BackgroundAndLives(BACKGROUND, LivedNumbers()),
    background=(0.4, 0.4, 0.4),  # cal. E: grey costs least where nothing was seen
    suits=Suits(views=(1, 5), video=True, steady=True, rank=70, because="movers live as long as other moments and cameras confirm them"),
    stages=(STATIC, MOVERS, JOINT, MOMENTS),
    in_chunks=InChunks(
        priors=("masks", "still", "longtracks"),
        initialize=StaticScene(BACKGROUND),
        shared=(
            STATIC,
            replace(STATIC, name="still", steps=1440, per_frame=0, most=0, enter=(FillHoles(),), layers=("*",), resolution=((0.0, 1),)),
        ),
        movers=LivedMovers(LivedNumbers()),
        stages=(replace(MOVERS, enter=(), rates=LIVED_RATES), replace(JOINT, rates=LIVED_RATES | BRIEF_RATES), MOMENTS),
    ),
)
