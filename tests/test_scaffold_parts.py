"""Losses, sampler, growth and recipes of the motion scaffold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fourfold.capture.capture import Capture
from fourfold.density.base import GrowthStatistics, Moment
from fourfold.density.scaffold_nodes import ScaffoldControl, aligned_in_time
from fourfold.geometry.camera import Camera
from fourfold.initialize.scaffold_gaussians import attached
from fourfold.losses.base import Sample, Step
from fourfold.losses.normalised_depth import NormalisedDepth, normalised
from fourfold.losses.ordinal_depth import OrdinalDepth, draw_pairs, ordinal_loss
from fourfold.losses.scaffold import ScaffoldRigidity, ScaffoldSmoothness
from fourfold.recipes import find_recipe
from fourfold.render.api import Render, ScreenStatistics
from fourfold.scene.scene import Scene
from fourfold.training.edits import apply_edit
from fourfold.training.samplers_diverse import DiverseImages
from test_scaffold_motion import KNOTS, made_layer, made_nodes

FORMS = ("tanh", "logistic", "sigmoid", "hinge")


def pairs_of(count: int = 400) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    prior = torch.rand(count, generator=generator, dtype=torch.float64) + 1
    rendered = torch.rand(count, generator=generator, dtype=torch.float64) + 1
    pairs = draw_pairs(torch.ones(20, count // 20, dtype=torch.bool), None, 600, generator)
    assert pairs is not None
    return rendered, prior, pairs


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("curve", [torch.exp, torch.log, lambda d: d**5 + 3, lambda d: -1 / d])
def test_only_the_order_of_the_prior_counts(form, curve):
    rendered, prior, pairs = pairs_of()
    numbers = OrdinalDepth(form=form)
    assert torch.equal(ordinal_loss(rendered, prior, pairs, numbers), ordinal_loss(rendered, curve(prior), pairs, numbers))


@pytest.mark.parametrize("form", FORMS)
def test_the_right_order_costs_little_and_the_wrong_one_pulls_it_right(form):
    _, prior, pairs = pairs_of()
    numbers = OrdinalDepth(form=form, sharpness=30.0)
    right, wrong = ordinal_loss(prior**2, prior, pairs, numbers), ordinal_loss(1 / prior, prior, pairs, numbers)
    assert right < 0.2 * wrong
    rendered = (1.5 - 0.01 * prior).requires_grad_()
    ordinal_loss(rendered, prior, pairs, replace(numbers, sharpness=5.0)).backward()
    assert rendered.grad is not None
    far = prior > prior.quantile(0.9)
    assert rendered.grad[far].sum() < 0, "what the prior calls far must be pushed away"


@pytest.mark.parametrize("form", FORMS)
def test_the_ordinal_loss_has_the_gradient_of_finite_differences(form):
    rendered, prior, pairs = pairs_of(80)
    numbers = OrdinalDepth(form=form, sharpness=2.0)
    rendered.requires_grad_()
    auto = torch.autograd.grad(ordinal_loss(rendered, prior, pairs, numbers), rendered)[0]
    middle = int((rendered.detach() - rendered.detach()[torch.cat(pairs)].median()).abs().argmin())
    way = torch.randn(80, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    way[middle] = 0  # the median is a unit without gradient
    ends = [ordinal_loss(rendered.detach() + s * 1e-7 * way, prior, pairs, numbers) for s in (1, -1)]
    assert float((ends[0] - ends[1]) / 2e-7) == pytest.approx(float((auto * way).sum()), rel=1e-3, abs=1e-6)


def test_half_of_the_pairs_start_on_movers():
    usable = torch.ones(20, 20, dtype=torch.bool)
    usable[:, :3] = False
    moving = torch.zeros(20, 20)
    moving[5:7, 5:7] = 1
    first, second = draw_pairs(usable, moving, 1000, torch.Generator().manual_seed(0))
    assert (moving.flatten()[first[:500]] == 1).all() and moving.flatten()[first[500:]].mean() < 0.1
    assert usable.flatten()[torch.cat([first, second])].all()
    assert draw_pairs(torch.zeros(4, 4, dtype=torch.bool), None, 10, torch.Generator()) is None


def made_step(depth: torch.Tensor, prior: torch.Tensor | None, layers: list | None = None, time: float = 0.4) -> Step:
    camera = Camera(torch.eye(3), torch.eye(4), depth.shape[1], depth.shape[0])
    flat = torch.zeros(*depth.shape, 3)
    screen = ScreenStatistics(torch.zeros(0))
    render = Render(color=flat, alpha=torch.ones_like(depth), depth=depth, channels=None, screen=screen)
    scene = Scene(layers or [made_layer(made_nodes())], (0.0, 1.0))
    return Step(scene, [Sample(0, 2, time, camera, flat, depth=prior)], scene.at_times([time]), [render], [{}], 0, 0.0, 1.0)


def test_depth_losses_ask_the_images():
    generator = torch.Generator().manual_seed(1)
    prior = torch.rand(16, 20, generator=generator) + 1
    for loss in (OrdinalDepth(), NormalisedDepth()):
        assert loss.channels(made_step(prior, prior), 0) == {}
        assert loss(made_step(3 * prior + 0.5, prior)) < 0.01 < loss(made_step(1 / prior, prior))
        assert loss(made_step(prior, None)) == 0
    some = prior > 1.3
    assert torch.allclose(normalised(5 * prior + 2, some), normalised(prior, some), atol=1e-4)
    centred = prior[some] - prior[some].median()
    assert torch.allclose(normalised(prior, some)[some], centred / centred.abs().mean(), atol=1e-5) and normalised(prior, some)[~some].eq(0).all()


def test_scaffold_losses_see_bending_and_motion():
    still = made_nodes()
    still = replace(still, xyz=still.xyz[:1].expand(6, -1, 3).clone(), quat=still.quat[:1].expand(6, -1, 4).clone())
    image = torch.ones(4, 4)
    steps = [made_step(image, None, [made_layer(nodes)]) for nodes in (still, made_nodes(), made_nodes(rigid=False))]
    rigid = [float(ScaffoldRigidity()(step)) for step in steps]
    smooth = [float(ScaffoldSmoothness()(step)) for step in steps]
    assert rigid[0] < 1e-4 and rigid[1] < 1e-4 < rigid[2]
    assert smooth[0] < 1e-4 < smooth[1] < smooth[2]
    assert all(loss.channels(steps[0], 0) == {} for loss in (ScaffoldRigidity(), ScaffoldSmoothness()))


@pytest.fixture
def walkers(tmp_path):
    """A capture of three training cameras and one that is held out, at 24 moments, without images."""
    views, times = 4, 24
    train = np.ones((views, times), bool)
    train[3] = False
    pose, K = np.tile(np.eye(4), (views, times, 1, 1)), np.tile(np.eye(3), (views, times, 1, 1))
    sizes = np.full((views, 2), 8)
    return Capture(tmp_path, K, pose, np.arange(times) / 10, sizes, np.ones_like(train), train, ~train, "given", False, "walk", tuple("abcd"))


def test_a_diverse_batch_has_other_cameras_and_other_times(walkers):
    for step in range(50):
        batch = DiverseImages(3)(walkers, step, np.random.default_rng((0, 0, step, 0)))
        assert len(batch) == len({v for v, _ in batch}) == len({t for _, t in batch}) == 3
        times = sorted(t for _, t in batch)
        assert min(np.diff(times)) >= 24 / (4 * 3)
        assert all(walkers.train[image] for image in batch)
        assert batch == DiverseImages(3)(walkers, step, np.random.default_rng((0, 0, step, 0)))


@pytest.mark.parametrize(("views", "times"), [("same", "different"), ("different", "same")])
def test_the_modes_of_the_ablation_keep_one_the_same(walkers, views, times):
    seen = set()
    for step in range(30):
        batch = DiverseImages(3, views, times)(walkers, step, np.random.default_rng((1, 0, step, 0)))
        seen |= set(batch)
        assert len(batch) == 3
        assert len({v for v, _ in batch}) == (1 if views == "same" else 3)
        assert len({t for _, t in batch}) == (1 if times == "same" else 3)
    assert {v for v, _ in seen} == {0, 1, 2}


def test_more_images_than_cameras_still_differ_in_time(walkers):
    batch = DiverseImages(5)(walkers, 0, np.random.default_rng(0))
    assert len({t for _, t in batch}) == 5 and {v for v, _ in batch} == {0, 1, 2}


def float_layer():
    layer = made_layer(made_nodes(rigid=False), count=60)
    single = {name: value.float() if value.is_floating_point() else value for name, value in layer.splats.items()}
    shared = {name: value.float() for name, value in layer.shared.items()}
    fixed = {name: value.float() if value.is_floating_point() else value for name, value in layer.fixed.items()}
    return replace(layer, splats=single, shared=shared, fixed=fixed)


def test_unused_nodes_go_and_nothing_moves():
    layer = float_layer()
    layer.splats["node"] = torch.arange(60) % 5
    before = layer.means_at(torch.from_numpy(KNOTS).float())
    control = ScaffoldControl(prune_at=(0.5,), grow_at=(), unused=0.999, neighbours=40, reach=1e6)
    edit = control(layer, GrowthStatistics.zeros(60, torch.device("cpu")), Moment(50, 100, 1.0, 6), np.random.default_rng(0))
    assert edit is not None and edit.shared["node_xyz"].shape[1] < 40
    left = edit.shared["node_xyz"]
    old = layer.shared["node_xyz"][:, layer.splats["node"]]
    apply_edit(layer, edit, {})
    assert torch.equal(left[:, layer.splats["node"]], old), "Gaussians stay attached to the node they were attached to"
    assert len(layer.shared["radius_logit"]) == left.shape[1] == len(layer.fixed["near"])
    assert torch.isfinite(layer.means_at(torch.from_numpy(KNOTS).float())).all() and before.shape[1] == 60


def test_nodes_grow_where_gaussians_are_pulled():
    layer = float_layer()
    layer.fixed["unit"] = torch.tensor(0.01)
    statistics = GrowthStatistics.zeros(60, torch.device("cpu"))
    statistics.count += 1
    statistics.gradient[:4] = 1e-6  # too little for a Gaussian to grow, more than the others
    control = ScaffoldControl(grow_at=(0.5,), prune_at=(), pull=0.9)
    edit = control(layer, statistics, Moment(50, 100, 1.0, 6), np.random.default_rng(0))
    assert edit is not None
    grown = edit.shared["node_xyz"].shape[1] - 40
    assert 1 <= grown <= 6
    picked = layer.means_at(layer.fixed["knots"])[:, :4]
    assert torch.cdist(edit.shared["node_xyz"][0, 40:], picked[0]).min(1).values.max() < 0.1
    apply_edit(layer, edit, {})
    points, anchor = layer.splats["means"].double().numpy(), layer.splats["anchor"].numpy()
    nodes = replace(made_nodes(), xyz=layer.shared["node_xyz"])
    assert np.array_equal(attached(points, anchor, nodes, np.array([1, 4]))[0], layer.splats["node"].numpy())


def test_rotations_stay_in_one_half_space_over_time():
    quat = torch.nn.functional.normalize(torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(0)), dim=-1).expand(7, 5, 4).clone()
    quat[2:4] *= -1
    assert ((aligned_in_time(quat)[1:] * aligned_in_time(quat)[:-1]).sum(-1) > 0.999).all()


def test_the_baselines_differ_from_the_recipe_in_the_tracks_alone():
    full = find_recipe("sparse_dynamic")
    for name in ("mosca_naive", "mosca_m"):
        other = find_recipe(name)
        assert other.stages == full.stages and other.initialize == full.initialize and other.priors != full.priors and other.suits.rank == 0
    assert full.suits.rank > find_recipe("splat3d").suits.rank and full.suits.moving is True
