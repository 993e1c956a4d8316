"""`RECIPE/as_published`: fifty steps of each system, with the rates that its paper prints read back from the optimiser."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import torch

from exact_priors import exact
from fourfold.capture.synthetic import SyntheticOptions
from fourfold.initialize.join_static import ResetOpacity
from fourfold.initialize.lifespan_clouds import divisor
from fourfold.losses import perceptual
from fourfold.recipes import find_recipe
from fourfold.recipes.published import AS_PUBLISHED
from fourfold.recipes.recipe import QUALITIES, Quality, Recipe
from fourfold.training import optimizer
from fourfold.training.loop import StepReport
from fourfold.training.trainer import TrainConfig, train

STEPS = 50
PRINTED: dict[str, dict[str, float]] = {
    # 4DGS360's supplement, A.3: mean, opacity, scale, rotation, colour, bases, nodes (position, radius, coefficients)
    "fourdgs360": {
        "object.means": 1.6e-4,
        "object.opacity_logit": 1e-2,
        "object.log_scale": 5e-3,
        "object.quat_wxyz": 1e-3,
        "object.color_logit": 1e-2,
        "object.rotation6d_0": 1.6e-4,
        "object.translation_0": 1.6e-4,
        "object.node_means_0": 1.6e-5,
        "object.node_log_radius_0": 5e-4,
        "object.node_logits_0": 1e-2,
    },
    "himor": {"object.node_means_0": 1.6e-5, "object.node_log_radius_0": 5e-4, "object.node_logits_0": 1e-2, "object.rotation6d_0": 1.6e-4},
    "shape_of_motion": {
        "object.means": 1.6e-4,
        "object.motion_logits": 1e-2,
        "object.rotation6d": 1.6e-4,
        "object.translation": 1.6e-4,
        "static.opacity_logit": 5e-2,
        "static.color_logit": 1e-2,
    },
    # MonoFusion's Table 4: foreground | background | motion
    "monofusion": {
        "object.means": 1.6e-4,
        "object.opacity_logit": 1e-2,
        "object.log_scale": 5e-3,
        "object.quat_wxyz": 1e-3,
        "object.color_logit": 0.0,
        "object.feature": 1e-3,
        "object.motion_logits": 1e-3,
        "object.rotation6d": 1.6e-4,
        "object.translation": 1.6e-4,
        "static.means": 1.6e-4,
        "static.opacity_logit": 1e-2,
        "static.log_scale": 1e-3,
        "static.quat_wxyz": 1e-3,
        "static.color_logit": 1e-2,
        "static.feature": 1e-3,
    },
    "mosca": {
        "object.means": 1.6e-4,
        "static.opacity_logit": 5e-2,
        "object.node_xyz": 3e-4,
        "object.node_quat": 3e-4,
        "object.radius_logit": 3e-3,
        "object.skinning": 3e-3,
        "poses.turn": 3e-5,
        "poses.shift": 3e-5,
    },
    "sparse_dynamic": {"object.means": 1.6e-4, "object.node_xyz": 3e-4, "object.log_scale": 5e-3, "object.skinning": 3e-3, "poses.turn": 0.0},
    "freetimegs": {"free.means": 1.6e-4, "free.velocity": 1.6e-3, "free.time_center": 1.6e-4, "free.log_duration": 5e-3, "free.opacity_logit": 5e-2},
    "sharptimegs": {"free.means": 1.6e-4, "free.velocity": 1.6e-3, "free.log_radius": 5e-3, "free.log_duration": 5e-3},
}
"""Recipe -> tensor -> rate at the first step; what lengths are shares of is the scene's extent here."""
LENGTHS = ("means", "translation", "translation_0", "node_means_0", "node_xyz", "velocity", "shift")
KINDS = {"monofusion": "sparse_fixed", "sparse_dynamic": "sparse_moving", "freetimegs": "dense_rig", "sharptimegs": "dense_rig"}


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    """Kind -> (capture, exact priors), made once."""
    made = {}

    def of(kind: str):
        if kind not in made:
            made[kind] = exact(kind, tmp_path_factory.mktemp(kind), SyntheticOptions(frames=6, width=48, height=32, supersample=1, tracks=160))
        return made[kind]

    return of


def shortened(recipe: Recipe) -> Recipe:
    """The recipe with fifty steps in all and batches of at most two images; rates, losses, start and density control stay."""
    share, left = divmod(STEPS, len(recipe.stages))
    stages = [
        replace(
            stage,
            steps=share + (number < left),
            per_frame=0.0,
            sampler=replace(stage.sampler, batch=min(stage.sampler.batch, 2)),
            enter=tuple(edit for edit in stage.enter if not isinstance(edit, ResetOpacity)),  # a thousand steps apart, not eight
        )
        for number, stage in enumerate(recipe.stages)
    ]
    return replace(recipe, stages=tuple(stages))


@pytest.mark.parametrize("name", sorted(AS_PUBLISHED))
def test_fifty_steps_with_the_printed_rates(name: str, captures, tmp_path: Path, monkeypatch) -> None:
    """The rates that reach Adam at the first step are the paper's, the scene stays finite, and the loss on its images falls."""
    capture, priors = captures(KINDS.get(name, "casual"))
    monkeypatch.setitem(QUALITIES, "full", Quality(pixels=1_000_000_000, steps=1.0, gaussians=0.01))
    monkeypatch.setattr(perceptual, "network_here", lambda network: None)
    rates, extents, reports = spied(monkeypatch)  # extents: of the stage in which a tensor first moved
    config = TrainConfig(quality="full", device="cpu", progress=reports.append)
    scene = train(shortened(find_recipe(f"{name}/as_published")), None, capture, priors, tmp_path, config)
    assert len(reports) == STEPS
    assert all(bool(torch.isfinite(value).all()) for layer in scene.layers for value in layer.splats.values() if value.is_floating_point())
    for key, rate in PRINTED[name].items():
        expected = rate * (extents.get(key, 1.0) if key.split(".")[1] in LENGTHS else 1.0)
        assert rates.get(key, 0.0) == pytest.approx(expected, rel=1e-6), key
    losses = [report.losses["rgb"] for report in reports]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


def spied(monkeypatch) -> tuple[dict[str, float], dict[str, float], list[StepReport]]:
    """The rate of each tensor in its first Adam step, the extent of the scene then, and room for reports, filled while training."""
    rates: dict[str, float] = {}
    extents: dict[str, float] = {}
    now: list[float] = []
    names: dict[int, str] = {}
    steps, update = optimizer.adam_steps, optimizer.update

    def watched(scene, moments, given, rows, progress, lengths, *more):
        now.append(lengths.extent)
        for layer in scene.layers:
            names.update({group[name].data_ptr(): key for key, group, name in optimizer.parameters(layer)})
        update(scene, moments, given, rows, progress, lengths, *more)

    def adam(tensors, *more):
        for tensor in tensors:
            rates.setdefault(names[tensor.param.data_ptr()], tensor.rate)
            extents.setdefault(names[tensor.param.data_ptr()], now[-1])
        steps(tensors, *more)

    monkeypatch.setattr(optimizer, "adam_steps", adam)
    monkeypatch.setattr("fourfold.training.loop.update", watched)
    return rates, extents, []


def test_the_sizes_are_the_published_ones() -> None:
    """Counts, batches and lengths that the papers state, read from the recipes."""
    som, himor, own = AS_PUBLISHED["shape_of_motion"], AS_PUBLISHED["himor"], AS_PUBLISHED["fourdgs360"]
    assert [round(r.stages[0].per_frame * 8) for r in (som, himor, own)] == [500, 500, 600]
    assert [r.stages[0].sampler.batch for r in (som, himor, own)] == [8, 8, 8]
    assert [r.stages[0].enter[0].nodes for r in (himor, own)] == [50, 70]
    assert own.initialize.object.clusters.bases == 15
    assert {t.name: t.weight for t in own.stages[0].terms}["lpips"] == 0.01
    mono = AS_PUBLISHED["monofusion"]
    assert (mono.initialize.background.count, mono.initialize.foreground.count, mono.initialize.foreground.groups.groups) == (1_200_000, 18_000, 40)
    table5 = {"rgb": 7, "mask": 5, "features": 7, "depth": 1, "track_depth": 0.1, "depth_gradient": 0.1, "tracks": 2, "bases_acceleration": 0.1}
    table5 |= {"track_acceleration": 2, "scale_variance": 0.01, "ray_velocity": 1}
    assert {t.name: t.weight for t in mono.stages[0].terms if t.name != "opaque"} == table5
    steps = {name: sum(stage.steps for stage in recipe.stages) for name, recipe in AS_PUBLISHED.items()}
    assert (steps["mosca"], steps["sparse_dynamic"], steps["freetimegs"], steps["sharptimegs"]) == (8000, 8000, 30_000, 30_000)
    assert QUALITIES["full"].steps == QUALITIES["full"].gaussians == 1.0


def test_harmonics_are_trained_and_start_at_nothing(captures) -> None:
    """Systems whose papers have colours by direction: every Gaussian gets degree 3, at zero, with a rate."""
    for name in ("mosca", "sparse_dynamic", "freetimegs", "sharptimegs"):
        recipe = AS_PUBLISHED[name]
        capture, priors = captures(KINDS.get(name, "casual"))
        random = np.random.default_rng(0)
        scene = recipe.initialize(capture, priors, Quality(1_000_000, 1.0, 0.01), random)
        for edit in recipe.stages[0].enter:
            scene = edit(scene, capture, priors, Quality(1_000_000, 1.0, 0.01), random)
        for layer in scene.layers:
            assert layer.splats["sh_rest"].shape == (len(layer), 15, 3) and not layer.splats["sh_rest"].any(), name
            assert all(any(fnmatch(f"{layer.name}.sh_rest", pattern) for pattern in stage.rates) for stage in recipe.stages), name


def test_a_life_slows_motion_by_frames(captures) -> None:
    """Three frames of life are f = 1 + (1 + .5)^2 = 3.25, a whole clip's far more; with seconds both are 2."""
    recipe = AS_PUBLISHED["sharptimegs"]
    capture, priors = captures("dense_rig")
    scene = recipe.initialize(capture, priors, Quality(1_000_000, 1.0, 0.01), np.random.default_rng(0))
    layer = scene.layers[0]
    factor = divisor(layer.motion, layer.splats)
    short = layer.splats["log_radius"].exp() < 1.01 * layer.motion.unit
    assert float(factor[short].median()) == pytest.approx(3.25, rel=1e-4)
    assert float(factor[~short].min()) > 3.25
