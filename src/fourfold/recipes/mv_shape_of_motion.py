"""MV-SOM: Shape of Motion in every camera for itself, concatenated and optimised together; the baseline that MonoFusion is measured against."""

from fourfold.initialize.camera_colors import AddCameraColors
from fourfold.initialize.drop import Drop
from fourfold.initialize.mv_shape_of_motion import EachCameraAlone
from fourfold.losses.camera_colors import AsCameraSees, SimilarCameras
from fourfold.losses.photometric import Photometric
from fourfold.recipes.monofusion import RATES
from fourfold.recipes.recipe import Recipe, Stage, Term
from fourfold.recipes.shape_of_motion import MOVING_TERMS
from fourfold.training.samplers import Epochs

_OTHERS = tuple(term for term in MOVING_TERMS if term.name != "rgb")

RECIPE = Recipe(
    name="mv_shape_of_motion",
    summary="Shape of Motion per camera, put side by side: a baseline for few fixed cameras",
    source="spec monofusion.md 10; losses of shape_of_motion.md 8; length and rates of recipes/monofusion.py, for comparison",
    priors=("masks", "depth:time_consistent", "flow", "tracks2d"),
    initialize=EachCameraAlone(),
    background=(0.4, 0.4, 0.4),
    stages=(
        Stage(
            name="joint",
            steps=3000,
            enter=(AddCameraColors(),),
            terms=(Term("rgb", AsCameraSees(Photometric(ssim=0.2)), 1.0), *_OTHERS, Term("cameras", SimilarCameras(), 1e-2)),
            rates=RATES,
            sampler=Epochs(batch=1),
            resolution=((0.0, 2), (0.2, 1)),
            track_targets=2,
        ),
        Stage(name="mean cameras", steps=0, terms=(), rates={}, sampler=Epochs(batch=1), enter=(Drop(),)),
    ),
)
