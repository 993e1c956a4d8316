"""MonoFusion: a few fixed cameras far apart; depth that agrees over time and views, motion bases from feature groups.

"MF n" is section n of spec monofusion.md (Tables 4 and 5 of the paper in MF 7 and 8); "cal. C" is part C of spec calibration.md. The
paper trains some hours on a GPU; here are 3000 steps of one image, so rates that would not arrive in that time are those of cal. C.
"""

from fourfold.initialize.camera_colors import AddCameraColors
from fourfold.initialize.drop import Drop
from fourfold.initialize.monofusion import ForegroundNumbers, MonoFusionStart
from fourfold.initialize.neighbours import FixNeighbours
from fourfold.losses.camera_colors import AsCameraSees, SimilarCameras
from fourfold.losses.depth import DepthDisparity, DepthGradient
from fourfold.losses.features import FeatureDistance
from fourfold.losses.masks import ForegroundMask, OpaqueEverywhere
from fourfold.losses.photometric import Photometric
from fourfold.losses.regularizers import ScaleVariance
from fourfold.losses.rigid_pairs import RigidPairs
from fourfold.losses.smoothness import BasesAcceleration, RayVelocity, TrackAcceleration
from fourfold.recipes.recipe import Rate, Recipe, Stage, Suits, Term
from fourfold.training.samplers import Epochs

TERMS = (
    Term("rgb", AsCameraSees(Photometric(ssim=0.2)), 7.0),  # Table 5
    Term("rgb_moving", AsCameraSees(Photometric(ssim=0.0, where="foreground")), 21.0),  # cal. B: foreground weight; movers fill little
    Term("mask", ForegroundMask(quantile=0.98, layers="object"), 5.0),  # Table 5
    Term("opaque", OpaqueEverywhere(), 5.0),  # the mask's first part, MF 7
    Term("features", FeatureDistance(every=4), 0.5),
    Term("depth", DepthDisparity(quantile=0.98), 1.0),  # Table 5
    Term("depth_gradient", DepthGradient(quantile=0.95), 0.1),  # Table 5
    Term("bases_acceleration", BasesAcceleration(), 0.1),  # Table 5
    Term("track_acceleration", TrackAcceleration(), 0.2),  # Table 5 has 2.0; with a tenth of the steps that holds the movers back
    Term("ray_velocity", RayVelocity(), 0.1),  # Table 5 has 1.0 ("z accel"); the other cameras know the depth
    Term("scale_variance", ScaleVariance(), 0.01),  # Table 5
    Term("rigid", RigidPairs(), 0.1),  # MF 7, bounded form; no weight in Table 5
    Term("cameras", SimilarCameras(), 7e-2),  # cal. B: 1e-2 beside a colour weight of 1
)

RATES = {
    "object.means": Rate(3e-4, final=0.01, per_extent=True),  # cal. C; Table 4 has half of it for many more steps
    "object.log_scale": Rate(5e-3),  # Table 4
    "object.quat_wxyz": Rate(1e-3),  # Table 4
    "object.opacity_logit": Rate(3e-2, final=0.3),  # cal. C; Table 4: 1e-2
    "object.color_logit": Rate(1.6e-2, final=0.3),  # Table 4 keeps the pixels' colours, which differ from camera to camera
    "object.feature": Rate(1e-2),
    "object.motion_logits": Rate(2e-2, final=0.3),  # cal. C; Table 4: 1e-3
    "object.rotation6d": Rate(2e-3, final=0.1),  # cal. C
    "object.translation": Rate(7e-4, final=0.1, per_extent=True),  # cal. C: 2e-3 in a stage of 2.9 m
    "static.means": Rate(6e-5, final=0.01, per_extent=True),  # cal. C: a fifth of the others
    "static.log_scale": Rate(5e-3),
    "static.quat_wxyz": Rate(1e-3),  # Table 4
    "static.opacity_logit": Rate(3e-2),  # cal. C
    "static.color_logit": Rate(1.6e-2),
    "static.feature": Rate(1e-2),
    "cameras.*": Rate(5e-4),  # cal. C
}

RECIPE = Recipe(
    name="monofusion",
    summary="a few fixed cameras: depth that agrees over time and views, motion bases from groups of alike points",
    source="Wang et al. 2025 (spec monofusion.md); laptop schedule of spec calibration.md, part C",
    priors=("masks", "depth", "flow", "features", "clouds"),
    initialize=MonoFusionStart(foreground=ForegroundNumbers(points="hull", sure=0.5, trajectories="followed")),
    background=(0.4, 0.4, 0.4),  # calibration: grey costs least where nothing was seen
    suits=Suits(views=(2, 8), moving=False, arc=40.0),
    stages=(
        Stage(
            name="joint",
            steps=3000,  # cal. C
            enter=(AddCameraColors(), FixNeighbours("object", count=8)),
            terms=TERMS,
            rates=RATES,
            sampler=Epochs(batch=1),
            resolution=((0.0, 2), (0.2, 1)),
        ),
        Stage(name="mean cameras", steps=0, terms=(), rates={}, sampler=Epochs(batch=1), enter=(Drop(),)),
    ),
)
