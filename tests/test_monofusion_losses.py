"""The feature loss and the rigidity loss against closed forms, finite differences and invariants; the recipe trains end to end."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fourfold.evaluation import heldout, metrics
from fourfold.geometry.camera import Camera
from fourfold.initialize.monofusion import MonoFusionStart
from fourfold.initialize.monofusion_motion import identity_bases
from fourfold.initialize.neighbours import FixNeighbours
from fourfold.initialize.splats import make_splats
from fourfold.losses.base import Sample, Step
from fourfold.losses.features import FEATURES, FeatureDistance, on_grid
from fourfold.losses.rigid_pairs import RigidPairs, rigid_pairs
from fourfold.priors.contracts import Priors
from fourfold.priors.features.motion_groups import GroupNumbers
from fourfold.priors.providers import prepare_priors
from fourfold.recipes import find_recipe
from fourfold.recipes.monofusion_ablations import ABLATIONS
from fourfold.recipes.recipe import QUALITIES, Recipe, Stage
from fourfold.scene.motion.se3_bases import SE3Bases
from fourfold.scene.scene import DYNAMIC, Layer, Scene
from fourfold.training.trainer import TrainConfig, train
from rig_scene import make_rig


def sample_of(features: torch.Tensor | None, height: int = 8, width: int = 12) -> Sample:
    camera = Camera(torch.eye(3), torch.eye(4), width, height)
    return Sample(0, 0, 0.0, camera, torch.zeros(height, width, 3), features=features)


def step_of(scene: Scene, sample: Sample, extra: dict[str, torch.Tensor], index: int = 0) -> Step:
    return Step(scene, [sample], [scene.at(0.0)], [], [extra], index, 0.0, 1.0)


def layer_of(points: torch.Tensor, groups: int = 2, knots: int = 3) -> Layer:
    splats = make_splats(points.numpy(), np.full((len(points), 3), 0.5), np.full(len(points), 0.1), 0.5)
    splats["motion_logits"] = torch.zeros(len(points), groups)
    shared = identity_bases(groups, knots)
    return Layer("object", DYNAMIC, SE3Bases(), splats, shared, {"knots": torch.arange(knots).float(), "pivot": torch.zeros(3)})


def test_features_are_compared_on_their_own_grid() -> None:
    rendered = torch.arange(8 * 12 * 2).float().view(8, 12, 2)
    target = torch.zeros(2, 3, 2)
    sample = sample_of(target)
    means = rendered.view(2, 4, 3, 4, 2).mean(dim=(1, 3))
    scene = Scene([layer_of(torch.randn(4, 3))], (0.0, 1.0))
    assert torch.allclose(on_grid(rendered, sample), means)
    step = step_of(scene, sample, {FEATURES: rendered})
    assert float(FeatureDistance(share=0.8)(step)) == pytest.approx(0.8 * float(means.square().mean()), rel=1e-6)
    assert float(FeatureDistance(form="absolute")(step)) == pytest.approx(float(means.abs().mean()), rel=1e-6)
    uneven = sample_of(torch.zeros(3, 5, 2))  # a grid that does not divide the image
    assert on_grid(torch.full((8, 12, 2), 3.0), uneven).shape == (3, 5, 2)
    assert torch.allclose(on_grid(torch.full((8, 12, 2), 3.0), uneven), torch.tensor(3.0))


def test_features_are_drawn_in_some_steps_and_zero_where_a_layer_has_none() -> None:
    with_features, without = layer_of(torch.randn(4, 3)), replace(layer_of(torch.randn(3, 3)), name="plain")
    with_features.splats["feature"] = torch.randn(4, 2)
    scene = Scene([with_features, without], (0.0, 1.0))
    loss = FeatureDistance(every=4)
    sample = sample_of(torch.zeros(2, 3, 2))
    drawn = loss.channels(step_of(scene, sample, {}, index=8), 0)[FEATURES]
    assert torch.equal(drawn, torch.cat([with_features.splats["feature"], torch.zeros(3, 2)]))
    assert not loss.channels(step_of(scene, sample, {}, index=9), 0)
    assert not loss.channels(step_of(scene, sample_of(None), {}, index=8), 0)
    assert float(loss(step_of(scene, sample, {}, index=9))) == 0
    assert not loss.channels(step_of(Scene([without], (0.0, 1.0)), sample, {}, index=8), 0)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_rigid_motion_costs_nothing_and_stretching_does(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    near = torch.cdist(points, points).topk(5, largest=False).indices[:, 1:]
    rows = torch.arange(40)
    moved = points @ turn.T + torch.randn(3, generator=generator, dtype=torch.float64)
    assert float(rigid_pairs(points, moved, near, rows)) < 1e-10
    stretched = rigid_pairs(points, 2 * points, near, rows)  # squared distances become four times as long
    assert float(stretched) == pytest.approx(3.0, rel=1e-9)
    assert float(rigid_pairs(2 * points, points, near, rows)) == pytest.approx(0.75, rel=1e-9)  # and is bounded the other way


def test_rigid_pairs_gradient() -> None:
    torch.manual_seed(0)
    here = torch.randn(10, 3, dtype=torch.float64)
    there = torch.randn(10, 3, dtype=torch.float64, requires_grad=True)
    near = torch.randint(10, (10, 3))
    rows = torch.arange(10)
    assert torch.autograd.gradcheck(lambda x: rigid_pairs(here, x, near, rows), (there,))


def test_rigid_pairs_look_at_other_knots_of_layers_with_neighbours() -> None:
    layer = layer_of(torch.randn(30, 3), knots=4)
    scene = Scene([layer], (0.0, 3.0))
    loss = RigidPairs(count=10)
    assert float(loss(step_of(scene, sample_of(None), {}))) == 0  # nobody has neighbours
    bound = FixNeighbours("object", count=8)(scene, None, Priors(), QUALITIES["draft"], np.random.default_rng(0))  # type: ignore[arg-type]
    assert float(loss(step_of(bound, sample_of(None), {}))) < 1e-6
    bound.layers[0].splats["motion_logits"][:15, 0] = 5.0
    bound.layers[0].shared["translation"][0, 1:] = 3.0  # the halves part after the first knot
    values = [float(loss(step_of(bound, sample_of(None), {}, index=i))) for i in range(5)]
    assert min(values) > 0.1
    assert values == [float(loss(step_of(bound, sample_of(None), {}, index=i))) for i in range(5)]


def test_ablations_change_what_they_say() -> None:
    """Each row of Tables 2 and 3 differs from the one it is set against in one thing: depth, the feature loss, or where bases come from."""
    rows = {name: recipe for name, recipe in ABLATIONS.items()}

    def terms(name: str) -> set[tuple[str, float]]:
        return {(t.name, t.weight) for s in rows[name].stages for t in s.terms}

    def unlike(one: str, other: str) -> set[str]:
        return {f.name for f in fields(Recipe) if getattr(rows[one], f.name) != getattr(rows[other], f.name)}

    assert unlike("table3_depth", "table3_base") == unlike("table3_depth_features", "table3_features") == {"priors"}
    assert unlike("view_consistent_depth", "pixel_points") == unlike("time_consistent_depth", "pixel_points") == {"priors"}
    for more, less in (("table3_features", "table3_base"), ("table3_depth_features", "table3_depth"), ("full", "no_feature_loss")):
        assert unlike(more, less) == {"stages"} and terms(more) - terms(less) == {("features", 0.5)} and terms(less) < terms(more)
    for bases, tracks in (("pixel_points", "table3_depth_features"), ("full", "track_bases")):
        start, other = rows[bases].initialize, rows[tracks].initialize
        assert unlike(bases, tracks) == {"initialize", "priors"} and set(rows[tracks].priors) - set(rows[bases].priors) == {"tracks2d", "tracks3d"}
        assert replace(other, foreground=replace(other.foreground, trajectories=start.foreground.trajectories)) == start
    for name in ("feature_groups", "position_groups", "ten_groups", "identity_trajectories", "pixel_points"):
        assert unlike("full", name) == {"initialize"}
    assert terms("published_feature_loss") ^ terms("full") == {("features", 0.5), ("features", 7.0)}
    assert all("object.color_logit" not in stage.rates for stage in rows["frozen_colours"].stages)
    assert find_recipe("mv_shape_of_motion") == ABLATIONS["baseline"]


def test_a_ball_between_four_cameras_is_followed(tmp_path: Path) -> None:
    made = make_rig(tmp_path / "capture", views=5, times=4)
    capture = replace(
        made.capture, train=made.capture.train & (np.arange(5) != 4)[:, None], heldout=made.capture.train & (np.arange(5) == 4)[:, None]
    )
    recipe = find_recipe("monofusion")
    assert isinstance(recipe.initialize, MonoFusionStart)
    start = replace(recipe.initialize, foreground=replace(recipe.initialize.foreground, count=480, groups=GroupNumbers(groups=8)))
    stages: tuple[Stage, ...] = (replace(recipe.stages[0], steps=200), *recipe.stages[1:])
    prepared = prepare_priors(capture, recipe.priors, tmp_path / "priors")
    scene = train(
        replace(recipe, initialize=start, stages=stages), None, prepared.capture, prepared.priors, tmp_path / "run", TrainConfig(quality="normal")
    )
    draw = heldout.scene_renderer(scene, capture)
    moving = {t: np.asarray(made.masks.mask[4][t] > 0) for t in range(4)}
    found = [metrics.psnr(draw(4, t), capture.image(4, t).astype(np.float32) / 255, moving[t]) for t in range(4)]
    still = [metrics.psnr(np.full((60, 80, 3), 90 / 255), capture.image(4, t).astype(np.float32) / 255, moving[t]) for t in range(4)]
    assert np.mean(found) > np.mean(still) + 2  # type: ignore[arg-type]
