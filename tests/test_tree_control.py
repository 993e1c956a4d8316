"""Losses and growth of motion trees: invariants, synthetic truth, and a tiny training that resumes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fourfold.density.base import GrowthStatistics, Moment
from fourfold.density.capped import CappedGrowth
from fourfold.density.tree_deepening import DeepenNumbers
from fourfold.density.tree_nodes import TreeControl
from fourfold.geometry.camera import Camera
from fourfold.geometry.rotations import matrix_to_rotation6d, quat_exp, so3_exp
from fourfold.initialize.motion_tree import PlantTree
from fourfold.losses.base import Sample, Step
from fourfold.losses.tree_calm import TreeAcceleration, TreeRadius
from fourfold.losses.tree_rays import TreeRays, ray_pairs
from fourfold.losses.tree_rigidity import TreeRigidity, random_moments, two_terms
from fourfold.recipes.recipe import QUALITIES
from fourfold.scene.motion.motion_tree import MotionTree
from fourfold.scene.motion.se3_bases import SE3Bases
from fourfold.scene.scene import DYNAMIC, Layer, Scene
from fourfold.scene.tree_levels import NodeMotions, level_count, nearest_nodes, tree_level
from fourfold.training.edits import apply_edit
from tree_scene import random_tree


def _step(layer: Layer, index: int = 0) -> Step:
    K = torch.tensor([[60.0, 0, 40], [0, 60, 30], [0, 0, 1]])
    pose = torch.eye(4)
    pose[2, 3] = 6
    sample = Sample(0, 2, 0.5, Camera(K, pose, 80, 60), torch.zeros(60, 80, 3))
    scene = Scene([layer], (0.0, 1.0))
    return Step(scene, [sample], scene.at_times([0.5]), [], [], index, 0.0, 1.0)


def _rigid(layer: Layer) -> Layer:
    """The same tree moving as one rigid body."""
    knots, shared = layer.fixed["knots"], dict(layer.shared)
    rotation = matrix_to_rotation6d(so3_exp(knots[:, None] * torch.tensor([1.0, -0.7, 0.4])))
    shared["rotation6d_0"] = rotation.expand(shared["rotation6d_0"].shape).clone()
    shared["translation_0"] = (knots[:, None] * torch.tensor([0.3, 0.1, -0.6])).expand(shared["translation_0"].shape).clone()
    shared["rotation6d_1"] = matrix_to_rotation6d(torch.eye(3)).expand(shared["rotation6d_1"].shape).clone()
    shared["translation_1"] = torch.zeros_like(shared["translation_1"])
    return replace(layer, shared=shared)


@pytest.mark.parametrize("loss", [TreeRigidity(), TreeRays(patch=0.5)])
def test_a_rigid_body_costs_nothing_and_a_bending_one_something(loss):
    bending = random_tree(2)
    assert float(loss(_step(_rigid(bending)))) < 1e-4
    assert float(loss(_step(bending))) > 1e-2


def test_two_terms_of_one_pair_are_the_papers():
    turn = quat_exp(torch.tensor([[[0.0, 0, 0]], [[0, 0, np.pi / 2]]]))
    places, origin = torch.tensor([[[1.0, 0, 0]], [[3.0, 0, 0]]]), torch.zeros(2, 1, 3)
    base = NodeMotions(turn, origin)
    # the length grows by 2; seen from the second node, which turns, (1, 0, 0) has become (0, -3, 0)
    assert float(two_terms(places, base, origin[0], (1.0, 0.0))) == pytest.approx(2.0, abs=1e-5)
    assert float(two_terms(places, base, origin[0], (0.0, 0.5))) == pytest.approx(0.5 * 10**0.5, abs=1e-5)


def test_moments_begin_with_the_image_and_parity_leaves_the_ends_out():
    layer = random_tree()
    for seed in range(20):
        times = random_moments(layer, 0.5, 3, (seed,), False)
        assert float(times[0]) == 0.5
        assert len(torch.unique(times)) == 3
        assert set(random_moments(layer, 0.0, 3, (seed,), True).tolist()) == {0.25, 0.5, 0.75}


def test_partners_on_a_ray_are_those_of_like_speed():
    xy, depth = np.full((6, 2), 30.0), np.arange(1.0, 7.0)
    xy[5] = 75.0  # on another ray
    speed = np.array([[1.0, 5, 1.01, 5, 5, 1]])
    numbers = TreeRays(front=2, along=6, alike=1)
    pairs = ray_pairs(xy, depth, speed, (4.0, 80, 60), numbers, np.random.default_rng(0))
    assert len(pairs)
    assert 5 not in pairs
    like = {0: {2}, 1: {3, 4}, 2: {0}}
    assert all(b in like[a] for a, b in pairs.tolist())


def test_radii_are_pressed_only_beyond_the_spacing():
    layer = random_tree(1)
    assert float(TreeRadius()(_step(layer))) < 1e-2
    wide = replace(layer, shared=layer.shared | {"node_log_radius_0": layer.shared["node_log_radius_0"] + 2})
    assert float(TreeRadius()(_step(wide))) > 1
    assert float(TreeAcceleration()(_step(_straight(layer)))) < 1e-5
    assert float(TreeAcceleration()(_step(random_tree(2)))) > 1e-3


def _straight(layer: Layer) -> Layer:
    shared = dict(layer.shared)
    shared["rotation6d_0"] = matrix_to_rotation6d(torch.eye(3)).expand(shared["rotation6d_0"].shape).clone()
    shared["translation_0"] = (layer.fixed["knots"][:, None] * torch.ones(3)).expand(shared["translation_0"].shape).clone()
    return replace(layer, shared=shared)


def _bases_layer(points: int = 400) -> Layer:
    """Two halves of a body on two shared bases."""
    generator = torch.Generator().manual_seed(5)
    knots = torch.linspace(0, 1, 6)
    means = torch.rand(points, 3, generator=generator) * torch.tensor([2.0, 1, 1])
    rotation = torch.stack([so3_exp(knots[:, None] * torch.tensor([0, 0.0, a])) for a in (0.0, 1.2)])
    logits = torch.stack([8 * (1 - means[:, 0]), 8 * (means[:, 0] - 1)], dim=1)
    splats = {
        "means": means,
        "quat_wxyz": torch.randn(points, 4, generator=generator),
        "log_scale": torch.full((points, 3), -3.0),
        "opacity_logit": torch.full((points,), 2.0),
        "color_logit": torch.zeros(points, 3),
        "motion_logits": logits,
    }
    shared = {"rotation6d": matrix_to_rotation6d(rotation), "translation": torch.zeros(2, 6, 3)}
    return Layer("object", DYNAMIC, SE3Bases(), splats, shared, {"knots": knots, "pivot": torch.tensor([1.0, 0.5, 0.5])})


def test_a_planted_tree_moves_like_the_bases_it_was_planted_on():
    layer = _bases_layer()
    planted = PlantTree(nodes=60).planted(layer, np.random.default_rng(0))
    assert isinstance(planted.motion, MotionTree)
    assert "motion_logits" not in planted.splats
    knots = layer.fixed["knots"]
    assert (planted.means_at(knots) - layer.means_at(knots)).norm(dim=-1).mean() < 0.06


def test_one_wrongly_tracked_gaussian_in_ten_leads_no_node_astray():
    layer = _bases_layer()
    right = layer.splats["motion_logits"].argmax(1)
    wrong = torch.from_numpy(np.random.default_rng(5).random(len(layer)) < 0.1)
    layer.splats["motion_logits"] = layer.splats["motion_logits"].where(~wrong[:, None], layer.splats["motion_logits"].flip(1))

    def astray(blended: int) -> int:
        planted = PlantTree(nodes=60, blended=blended).planted(layer, np.random.default_rng(0))
        source = torch.cdist(planted.shared["node_means_0"], layer.splats["means"]).argmin(1)
        inner = (layer.splats["means"][source, 0] - layer.splats["means"][:, 0].median()).abs() > 0.3  # not at the seam of the two parts
        return int((planted.shared["node_logits_0"].argmax(1) != right[source])[inner].sum())

    assert astray(1) >= 3 and astray(16) == 0


def _after(layer: Layer, control: TreeControl, step: int, gradient: float = 0.0) -> Layer:
    statistics = GrowthStatistics.zeros(len(layer), torch.device("cpu"))
    statistics.gradient += gradient
    statistics.count += 1
    edit = control(layer, statistics, Moment(step, 100, 1.0, 10), np.random.default_rng(step))
    changed = replace(layer, splats=dict(layer.splats), shared=dict(layer.shared), fixed=dict(layer.fixed))
    if edit is not None:
        apply_edit(changed, edit, {})
    return changed


def test_nodes_grow_are_culled_and_get_children():
    layer = PlantTree(nodes=20).planted(_bases_layer(), np.random.default_rng(0))
    control = TreeControl(from_gaussians=(0.1,), from_gradients=(0.2,), cull_and_deepen=0.3, added=6, deepen=DeepenNumbers(children=4, bases=3))
    still = _after(layer, control, 5)
    assert still.shared.keys() == layer.shared.keys()
    grown = _after(layer, control, 10)
    assert len(grown.shared["node_means_0"]) == 26
    pulled = _after(grown, control, 20, gradient=1.0)
    assert len(pulled.shared["node_means_0"]) > 26
    assert len(_after(grown, control, 20, gradient=0.0).shared["node_means_0"]) <= 26
    deep = _after(pulled, control, 30)
    assert level_count(deep) == 2
    root, leaf = tree_level(deep, 0), tree_level(deep, 1)
    assert len(leaf.means) <= 4 * len(root.means)
    assert leaf.rotation6d.shape[:2] == (len(root.means), 3)
    assert int(leaf.parent.max()) == len(root.means) - 1
    assert torch.equal(deep.splats["near"], nearest_nodes(deep.splats["means"], leaf.means, 3))
    knots = layer.fixed["knots"]
    # the second level starts as what the Gaussians already do
    assert (deep.means_at(knots) - pulled.means_at(knots)).norm(dim=-1).mean() < 0.05


def test_gaussians_that_split_are_attached_again():
    layer = PlantTree(nodes=20).planted(_bases_layer(), np.random.default_rng(0))
    control = TreeControl(gaussians=CappedGrowth(most=600, every=10, share=0.2, begin=0.0, end=1.0), from_gaussians=())
    grown = _after(layer, control, 10, gradient=1.0)
    assert len(grown) > len(layer)
    assert torch.equal(grown.splats["near"], nearest_nodes(grown.splats["means"], grown.shared["node_means_0"], 3))


def test_training_on_a_tree_resumes_bit_for_bit(casual_capture, tmp_path, monkeypatch):
    from fourfold.capture.capture import Capture
    from fourfold.priors.contracts import Priors
    from fourfold.recipes import find_recipe
    from fourfold.recipes.recipe import Quality
    from fourfold.training.trainer import TrainConfig, train

    monkeypatch.setitem(QUALITIES, "draft", Quality(pixels=45_000, steps=0.02, gaussians=0.05))
    capture, recipe = Capture.load(casual_capture), find_recipe("fourdgs360")
    tree = next(stage for stage in recipe.stages if stage.name == "tree")
    control = TreeControl(from_gaussians=(0.2,), from_gradients=(0.3,), cull_and_deepen=0.4, added=5, fewest=2, renew=10)
    tree = replace(tree, enter=tree.enter[-1:], steps=1500, density={"object": control})
    recipe = replace(recipe, stages=(tree,))
    generator = torch.Generator().manual_seed(0)
    layer = _bases_layer(300)
    layer.fixed["knots"] = torch.from_numpy(capture.timestamps[capture.train[0]]).float()
    for name, size in (("rotation6d", 6), ("translation", 3)):
        layer.shared[name] = layer.shared[name][:, :1].expand(2, len(layer.fixed["knots"]), size).clone()
    layer.splats["means"] = 0.3 * torch.randn(300, 3, generator=generator) + torch.tensor([0.0, -0.8, 0])
    scene = Scene([layer], (0.0, float(capture.timestamps[-1])))
    config = TrainConfig(quality="draft", device="cpu", checkpoint_every=7)
    whole = train(recipe, scene, capture, Priors(), tmp_path / "whole", config)
    assert level_count(whole.layer("object")) == 2

    class Stopped(Exception):
        pass

    def stop(report):
        if report.step == 18:
            raise Stopped

    with pytest.raises(Stopped):
        train(recipe, scene, capture, Priors(), tmp_path / "cut", replace(config, progress=stop))
    again = train(recipe, scene, capture, Priors(), tmp_path / "cut", config)
    for name, value in whole.layer("object").shared.items():
        assert torch.equal(value, again.layer("object").shared[name]), name
    assert torch.equal(whole.at(0.2).means, again.at(0.2).means)
