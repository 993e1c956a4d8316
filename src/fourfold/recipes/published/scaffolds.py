"""MoSca and Sparse Dynamic Cameras as published: "M n" is section n of spec mosca.md, "S n" of sparse_dynamic_cameras.md."""

from fourfold.density.adaptive import AdaptiveControl
from fourfold.density.scaffold_nodes import ScaffoldControl
from fourfold.initialize.background import BackgroundNumbers
from fourfold.initialize.harmonics import AddHarmonics
from fourfold.initialize.scaffold import BackgroundAndScaffold
from fourfold.initialize.scaffold_gaussians import SeedNumbers
from fourfold.losses.normalised_depth import NormalisedDepth
from fourfold.losses.ordinal_depth import OrdinalDepth
from fourfold.losses.photometric import Photometric
from fourfold.losses.scaffold import ScaffoldRigidity, ScaffoldSmoothness
from fourfold.losses.tracks import TrackReprojection
from fourfold.recipes import mosca, sparse_dynamic
from fourfold.recipes.recipe import Rate, Stage, Term, replace
from fourfold.training.samplers import RandomImages
from fourfold.training.samplers_diverse import DiverseImages

GROWTH = AdaptiveControl(
    start=80,
    stop=7200,
    every=300,
    reset_every=1000,
    reset_opacity=0.01,
    split_scale=0.005,
    split_radius=0.0,
    cull_opacity=0.01,
    cull_scale=0.0,
    cull_radius=0.0,
)  # M 9, control: 1 to 90 % of 8000 steps
NODES = ScaffoldControl(
    gaussians=GROWTH, grow_at=(4250 / 8000, 5250 / 8000), prune_at=(4500 / 8000, 5500 / 8000, 6500 / 8000), refresh=50, neighbours=16
)  # M 5, 9
RATES = {
    "*.means": Rate(1.6e-4, final=0.01, per_extent=True),
    "*.log_scale": Rate(5e-3),
    "*.quat_wxyz": Rate(1e-3),
    "*.opacity_logit": Rate(5e-2),
    "*.color_logit": Rate(1e-2),  # 2.5e-3 of a colour at the sigmoid's steepest slope of 1/4
    "*.sh_rest": Rate(5e-4),  # a twentieth of the colours'
    "object.node_xyz": Rate(3e-4, final=1.6e-6 / 3e-4, per_extent=True),
    "object.node_quat": Rate(3e-4, final=1.6e-6 / 3e-4),
    "object.radius_logit": Rate(3e-3),
}
"""M 9, rates. Published, decay of places begins at step 2000 of 8000; here it runs through."""
TERMS = (
    Term("rgb", Photometric(ssim=0.0), 3.0),  # M 9: summed over three channels
    Term("structure", Photometric(ssim=1.0), 0.1),
    Term("depth", NormalisedDepth(), 0.1),
    Term("tracks", TrackReprojection(), 2.0),  # M 9: 0.1 of pixels, which here count as shares of the image side
    Term("rigid", ScaffoldRigidity(), 10.0),
    Term("smooth", ScaffoldSmoothness(), 5.0),
)
STAGE = Stage(
    "joint",
    steps=8000,
    enter=(AddHarmonics(degree=3),),  # M 8
    terms=TERMS,
    rates=RATES,
    sampler=RandomImages(1),
    density={"static": GROWTH, "object": NODES},
    track_targets=1,
)
_STATIC, _DYNAMIC = BackgroundNumbers(count=30_000, opacity=0.01), SeedNumbers(count=30_000, opacity=0.02, curve_share=0.0)  # M 8

MOSCA = replace(
    mosca.RECIPE,
    source="Lei et al. 2024 as released (mosca.md 5 to 9)",
    initialize=BackgroundAndScaffold(_STATIC, seeds=_DYNAMIC, static_largest=0.03),
    stages=(STAGE,),
)
SPARSE_DYNAMIC = replace(
    sparse_dynamic.RECIPE,
    source="4D Reconstruction from Sparse Dynamic Cameras, 2026 (sparse_dynamic_cameras.md 2 to 5) on MoSca as released",
    initialize=BackgroundAndScaffold(_STATIC, seeds=_DYNAMIC),  # S 3: static scales without a bound
    stages=(
        replace(
            STAGE,
            terms=tuple(Term("depth", OrdinalDepth(), 0.1) if term.name == "depth" else term for term in TERMS),  # S 4
            sampler=DiverseImages(batch=3),  # S 5
        ),
    ),
)
