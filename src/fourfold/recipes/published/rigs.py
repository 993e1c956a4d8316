"""FreeTimeGS and SharpTimeGS as published: "A n" and "B n" are sections of spec sharptimegs_freetimegs.md.

No program of SharpTimeGS was released and its paper states no rates: they are FreeTimeGS's (B5).
"""

from fourfold.density.adaptive import AdaptiveControl
from fourfold.density.lifespan_relocation import LifespanRelocation
from fourfold.density.scored_relocation import ScoredRelocation
from fourfold.initialize.background import BackgroundNumbers
from fourfold.initialize.harmonics import AddHarmonics
from fourfold.initialize.lifespan_clouds import LifespanClouds
from fourfold.initialize.timed_clouds import MovingPoints, TimedClouds
from fourfold.losses.error_watch import WatchError
from fourfold.losses.lifetime import LifetimeOpacity
from fourfold.losses.perceptual import Perceptual
from fourfold.losses.photometric import Photometric
from fourfold.recipes import freetimegs, sharptimegs
from fourfold.recipes.recipe import Rate, Stage, Term, replace
from fourfold.training.samplers import RandomImages

STEPS = 30_000  # A5
RATES = {
    "free.means": Rate(1.6e-4, final=0.01, per_extent=True),
    "free.velocity": Rate(1.6e-3, final=0.01, per_extent=True),
    "free.time_center": Rate(1.6e-4),
    "free.log_duration": Rate(5e-3),
    "free.log_scale": Rate(5e-3),
    "free.quat_wxyz": Rate(1e-3),
    "free.opacity_logit": Rate(5e-2),
    "free.color_logit": Rate(1e-2),  # 2.5e-3 of a colour at the sigmoid's steepest slope of 1/4
    "free.sh_rest": Rate(1.25e-4),
}
"""A5."""
TERMS = (
    Term("rgb", Photometric(ssim=0.2), 1.0),
    Term("lpips", Perceptual("alex"), 0.01),
    Term("lifetime", LifetimeOpacity("free"), 1e-2),
)
"""A3."""
_STATIC, _MOVING = (
    BackgroundNumbers(count=250_000, frames=40, opacity=0.5),
    MovingPoints(count=250_000, jitter=0.0, opacity=0.5),
)  # A2: 500 000 in all

FREETIMEGS = replace(
    freetimegs.RECIPE,
    source="FreeTimeGS as its successor's program states it (spec sharptimegs_freetimegs.md A)",
    initialize=TimedClouds(_STATIC, _MOVING, sh_degree=3, spread=0.0, split=False),
    background=(0.0, 0.0, 0.0),
    stages=(
        Stage(
            "free",
            steps=STEPS,
            terms=TERMS,
            rates=RATES,
            sampler=RandomImages(1),
            density={"free": ScoredRelocation(begin=500 / STEPS, end=25_000 / STEPS)},  # A4
        ),
    ),
)


def _later(rate: Rate) -> Rate:
    """The rate of the last two thirds, from where the first third left it, so that both decay as one would over all steps."""
    return replace(rate, start=rate.start * rate.final ** (1 / 3), final=rate.final ** (2 / 3))


_LIFESPAN_RATES = RATES | {"free.log_radius": Rate(5e-3)}  # B5
SHARPTIMEGS = replace(
    sharptimegs.RECIPE,
    source="SharpTimeGS (spec sharptimegs_freetimegs.md B), rates of A5",
    initialize=LifespanClouds(_STATIC, _MOVING, split=False),
    background=(0.0, 0.0, 0.0),
    stages=(
        Stage(
            "grow",  # B3: the first third as AbsGS
            steps=STEPS // 3,
            enter=(AddHarmonics(degree=3),),  # A1, B1
            terms=TERMS,
            rates={name: replace(rate, final=rate.final ** (1 / 3)) for name, rate in _LIFESPAN_RATES.items()},
            sampler=RandomImages(1),
            density={
                "free": AdaptiveControl(
                    start=500,
                    stop=STEPS // 3,
                    threshold=4e-4,
                    absolute=True,
                    split_scale=0.001,
                    split_radius=0.0,
                    cull_opacity=0.005,
                    cull_scale=0.0,
                    cull_radius=0.0,
                )
            },
        ),
        Stage(
            "refine",  # B3: the last two thirds; canonical times have no rate any more
            steps=STEPS - STEPS // 3,
            terms=(*TERMS, Term("watch", WatchError("free"), 0.0)),
            rates={name: _later(rate) for name, rate in _LIFESPAN_RATES.items() if name != "free.time_center"},
            sampler=RandomImages(1),
            density={"free": LifespanRelocation(begin=0.0, end=25_000 / STEPS)},
        ),
    ),
)
