"""SharpTimeGS: lifespans with a flat top, motion slowed by a long life, and refinement where lives are fast and short."""

from dataclasses import replace

from fourfold.density.capped import CappedGrowth
from fourfold.density.lifespan_relocation import LifespanRelocation
from fourfold.initialize.camera_colors import AddCameraColors
from fourfold.initialize.drop import Drop
from fourfold.initialize.lifespan_clouds import LifespanClouds
from fourfold.losses.camera_colors import AsCameraSees, SimilarCameras
from fourfold.losses.error_watch import WatchError
from fourfold.losses.lifetime import LifetimeOpacity
from fourfold.losses.masks import ForegroundMask
from fourfold.losses.photometric import Photometric
from fourfold.recipes.recipe import Rate, Recipe, Stage, Suits, Term
from fourfold.training.samplers import Epochs

_TERMS = (
    Term("rgb", AsCameraSees(Photometric(ssim=0.2)), 1.0),  # B5 = A3
    Term("rgb_moving", AsCameraSees(Photometric(ssim=0.0, where="foreground")), 1.0),  # calibration B: foreground weight
    Term("mask", ForegroundMask(quantile=1.0), 0.2),  # calibration B
    Term("lifetime", LifetimeOpacity("free"), 1e-3),  # A3, as freetimegs
    Term("cameras", SimilarCameras(), 1e-2),  # calibration B
)

_RATES = {
    "free.means": Rate(3e-4, final=0.2, per_extent=True),  # two stages make 0.01 of freetimegs
    "static.means": Rate(1e-4, final=0.2, per_extent=True),
    "free.velocity": Rate(5.2e-3, final=0.2, per_extent=True),  # 3.25 times freetimegs's: f of three frames
    "free.time_center": Rate(2e-3),
    "free.log_duration": Rate(5e-3),  # B5
    "free.log_radius": Rate(5e-3),  # B5
    "*.log_scale": Rate(5e-3, final=0.5),
    "*.quat_wxyz": Rate(1e-3),
    "*.opacity_logit": Rate(3e-2, final=0.5),
    "*.color_logit": Rate(2e-2, final=0.5),
    "cameras.*": Rate(1e-3),
}


def _later(rate: Rate) -> Rate:
    """The rate of the last two thirds, from where the first third left it to 0.01 (lengths) or 0.1 of its start."""
    start = rate.start * rate.final
    return replace(rate, start=start, final=0.05 if rate.per_extent else 0.2 if rate.final < 1 else 1.0)


RECIPE = Recipe(
    name="sharptimegs",
    summary="flat-top lifespans and motion slowed by them, for dense rigs",
    source="SharpTimeGS (spec sharptimegs_freetimegs.md B); laptop rates of spec calibration.md B",
    priors=("masks", "depth", "clouds"),
    initialize=LifespanClouds(),
    background=(0.4, 0.4, 0.4),
    suits=Suits(views=(6, 1_000_000), rank=10, because="many cameras see every moment"),
    stages=(
        Stage(
            name="grow",  # B3: the first third, growth by the absolute gradient
            steps=1000,
            enter=(AddCameraColors(),),
            terms=_TERMS,
            rates=_RATES,
            sampler=Epochs(batch=1),
            density={"free": CappedGrowth(most=55_000, absolute=True, end=1.0), "static": CappedGrowth(most=30_000, absolute=True, end=1.0)},
        ),
        Stage(
            name="refine",  # B3: canonical times have no rate any more, so they stay
            steps=2000,
            terms=(*_TERMS, Term("watch", WatchError("free"), 0.0)),
            rates={name: _later(rate) for name, rate in _RATES.items() if name != "free.time_center"},
            sampler=Epochs(batch=1),
            density={"free": LifespanRelocation(least=0.02)},
        ),
        Stage(name="mean cameras", steps=0, terms=(), rates={}, sampler=Epochs(batch=1), enter=(Drop(),)),
    ),
)
