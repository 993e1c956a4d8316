"""MoSca and Sparse Dynamic Cameras as published: "M n" is section n of spec mosca.md, "S n" of sparse_dynamic_cameras.md."""

from itertools import pairwise

from fourfold.density.adaptive import AdaptiveControl
from fourfold.density.scaffold_nodes import ScaffoldControl
from fourfold.initialize.background import BackgroundNumbers
from fourfold.initialize.camera_poses import AddCameraPoses
from fourfold.initialize.harmonics import AddHarmonics
from fourfold.initialize.join_static import CopyToStatic, ResetOpacity
from fourfold.initialize.learn_skinning import LearnSkinning
from fourfold.initialize.scaffold import BackgroundAndScaffold
from fourfold.initialize.scaffold_gaussians import SeedNumbers
from fourfold.losses.normalised_depth import NormalisedDepth
from fourfold.losses.ordinal_depth import OrdinalDepth
from fourfold.losses.photometric import Photometric
from fourfold.losses.scaffold import ScaffoldRigidity, ScaffoldSmoothness, SmallSkinning
from fourfold.losses.tracks import TrackReprojection
from fourfold.recipes import mosca, sparse_dynamic
from fourfold.recipes.recipe import Rate, Sampler, SceneEdit, Stage, Term, replace
from fourfold.training.samplers import RandomImages
from fourfold.training.samplers_diverse import DiverseImages

STEPS, DECAY = 8000, 2000  # M 9; rates fall from DECAY on
SURFACE = 6000  # M 8: from here on weights are learned, and topology and nodes stay
COPIED = (3000, 4000, 5000)  # M 9: what moves is copied into what stands
PARTS = (0, DECAY, *COPIED, SURFACE, STEPS)
"""Stages begin here. Each begins with fresh moments of Adam, which the released program does not."""
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
GROWN, PRUNED = (4250, 5250), (4500, 5500)  # M 9, nodes; a last pruning at 6500 is left out: learned weights are columns of the topology
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
SURFACE_RATES = {"object.skinning": Rate(3e-3)}
POSE_RATES = {"poses.turn": Rate(3e-5, final=0.1), "poses.shift": Rate(3e-5, final=0.1, per_extent=True)}
"""M 9, rates; depth units are extents here."""
TERMS = (
    Term("rgb", Photometric(ssim=0.0), 3.0),  # M 9: summed over three channels
    Term("structure", Photometric(ssim=1.0), 0.1),
    Term("depth", NormalisedDepth(), 0.1),
    Term("tracks", TrackReprojection(), 2.0),  # M 9: 0.1 of pixels, which here count as shares of the image side
    Term("rigid", ScaffoldRigidity(), 10.0),
    Term("smooth", ScaffoldSmoothness(), 5.0),
)
SKINNING = Term("skinning", SmallSkinning(), 0.3)


def _part(rate: Rate, begin: int, end: int) -> Rate:
    """The rate between two of the steps, as it falls from DECAY to the last."""
    left, right = (max(0.0, (step - DECAY) / (STEPS - DECAY)) for step in (begin, end))
    return replace(rate, start=rate.start * rate.final**left, final=rate.final ** (right - left))


def _growth(begin: int, end: int) -> AdaptiveControl:
    """Growth of Gaussians between two of the steps; opacities are lowered within a part or as it begins."""
    return replace(GROWTH, start=max(0, GROWTH.start - begin), stop=min(GROWTH.stop, end) - begin)


def _nodes(begin: int, end: int) -> ScaffoldControl:
    """Growth of Gaussians and nodes between two of the steps."""
    grown, pruned = (tuple((at - begin) / (end - begin) for at in steps if begin <= at < end) for steps in (GROWN, PRUNED))
    return ScaffoldControl(_growth(begin, end), grown, pruned, refresh=50, neighbours=16)  # M 5, 9


def stages(terms: tuple[Term, ...], sampler: Sampler, poses: bool) -> tuple[Stage, ...]:
    """The photometric stage in parts; with `poses` cameras are refined from DECAY on."""
    parts: list[Stage] = []
    for begin, end in pairwise(PARTS):
        enter: tuple[SceneEdit, ...] = (ResetOpacity(GROWTH.reset_opacity),) if begin else (AddHarmonics(degree=3),)  # M 8, 9
        rates = RATES
        if poses and begin >= DECAY:
            enter, rates = (*enter, AddCameraPoses()), rates | POSE_RATES
        if begin in COPIED:
            enter = (*enter, CopyToStatic())
        if begin >= SURFACE:
            enter, rates = (*enter, LearnSkinning()), rates | SURFACE_RATES
        parts.append(
            Stage(
                f"joint {begin}",
                steps=end - begin,
                enter=enter,
                terms=(*terms, SKINNING) if begin >= SURFACE else terms,
                rates={name: _part(rate, begin, end) for name, rate in rates.items()},
                sampler=sampler,
                density={"static": _growth(begin, end), "object": _nodes(begin, end)},
                track_targets=1,
            )
        )
    return tuple(parts)


_STATIC, _DYNAMIC = BackgroundNumbers(count=30_000, opacity=0.01), SeedNumbers(count=30_000, opacity=0.02, curve_share=0.0)  # M 8

MOSCA = replace(
    mosca.RECIPE,
    source="Lei et al. 2024 as released (mosca.md 5 to 9)",
    initialize=BackgroundAndScaffold(_STATIC, seeds=_DYNAMIC, static_largest=0.03),
    stages=stages(TERMS, RandomImages(1), poses=True),
)
SPARSE_DYNAMIC = replace(
    sparse_dynamic.RECIPE,
    source="4D Reconstruction from Sparse Dynamic Cameras, 2026 (sparse_dynamic_cameras.md 2 to 5) on MoSca as released",
    initialize=BackgroundAndScaffold(_STATIC, seeds=_DYNAMIC),  # S 3: static scales without a bound
    stages=stages(
        tuple(Term("depth", OrdinalDepth(), 0.1) if term.name == "depth" else term for term in TERMS),  # S 4
        DiverseImages(batch=3),  # S 5
        poses=False,  # S 3
    ),
)
