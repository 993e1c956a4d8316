"""Motion trees against rigid motions in closed form, finite differences and invariants."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fourfold.geometry.dual_quaternions import dual_quat_blend, dual_quat_from_rigid, dual_quat_to_rigid
from fourfold.geometry.rigid import apply_rigid, make_rigid
from fourfold.geometry.rotations import matrix_to_quat, matrix_to_rotation6d, quat_multiply, quat_normalize, quat_to_matrix, so3_exp
from fourfold.scene.file import load_scene, save_scene
from fourfold.scene.leaf_weights import leaf_weights
from fourfold.scene.motion.motion_tree import MotionTree
from fourfold.scene.scene import Layer, Scene
from fourfold.scene.skinning import blend_nodes, skin, skin_reference
from fourfold.scene.tree_levels import node_motions, tree_level
from fourfold.scene.tree_nodes import log_radii, node_spacing, sparse_rows
from tree_scene import random_tree

TIMES = torch.tensor([0.0, 0.3, 0.5, 0.9])


def _with_one_basis(layer: Layer, rotation: torch.Tensor, translation: torch.Tensor) -> Layer:
    """All roots share one motion (K, 3, 3), (K, 3) about the pivot; children add none."""
    shared = dict(layer.shared)
    shared["rotation6d_0"], shared["translation_0"] = matrix_to_rotation6d(rotation)[None, None], translation[None, None]
    shared["node_logits_0"] = shared["node_logits_0"][:, :1]
    if "rotation6d_1" in shared:
        shared["rotation6d_1"] = matrix_to_rotation6d(torch.eye(3)).expand(shared["rotation6d_1"].shape).clone()
        shared["translation_1"] = torch.zeros_like(shared["translation_1"])
    return replace(layer, shared=shared)


@pytest.mark.parametrize("levels", [1, 2])
def test_one_basis_is_a_rigid_motion(levels):
    layer = random_tree(levels)
    knots, pivot = layer.fixed["knots"], layer.fixed["pivot"]
    rotation = so3_exp(knots[:, None] * torch.tensor([0.5, -1.1, 2.3]))
    translation = knots[:, None] * torch.tensor([1.0, 0.2, -0.4])
    moved, quats = _with_one_basis(layer, rotation, translation).motion.moved(_with_one_basis(layer, rotation, translation), knots)
    means = layer.splats["means"]
    expected = (means - pivot) @ rotation.transpose(1, 2) + pivot + translation[:, None]
    assert (moved - expected).abs().max() < 1e-4
    turned = quat_multiply(matrix_to_quat(rotation)[:, None], quat_normalize(layer.splats["quat_wxyz"])[None])
    assert ((quats * turned).sum(-1).abs() - 1).abs().max() < 1e-5
    distance = (moved[:, :, None] - moved[:, None]).norm(dim=-1) - (means[:, None] - means).norm(dim=-1)
    assert distance.abs().max() < 1e-4


def test_a_childs_motion_comes_after_its_parents():
    layer = random_tree(2, bases=1)
    root, leaf = node_motions(layer, TIMES)
    level = tree_level(layer, 1)
    above, below = (make_rigid(quat_to_matrix(m.quat), m.shift) for m in (root.of(level.parent), leaf))
    own = below @ torch.linalg.inv(above)  # what stands on the left
    centre = root.apply(tree_level(layer, 0).means)[:, level.parent]
    at_knot = layer.fixed["knots"].tolist().index(0.5)
    shift = apply_rigid(own[2], centre[2]) - centre[2]
    assert (shift - level.translation[level.parent, 0, at_knot]).abs().max() < 1e-4


def test_blending_does_not_know_the_sign_of_a_quaternion():
    generator = torch.Generator().manual_seed(1)
    rotation = so3_exp(1.5 * torch.randn(2, 12, 3, generator=generator))
    nodes = dual_quat_from_rigid(make_rigid(rotation, torch.randn(2, 12, 3, generator=generator)))
    near = torch.randint(12, (40, 3), generator=generator)
    weights = torch.softmax(torch.randn(40, 3, generator=generator), dim=1)
    flipped = nodes * torch.where(torch.rand(2, 12, 1, generator=generator) < 0.5, -1.0, 1.0)
    points, quats = torch.randn(40, 3, generator=generator), torch.randn(40, 4, generator=generator)
    one, turned = skin(nodes, near, weights, points, quats, 2)
    other, turned_too = skin(flipped, near, weights, points, quats, 2)
    assert (one - other).abs().max() < 1e-5
    assert ((turned * turned_too).sum(-1).abs() - 1).abs().max() < 1e-5
    assert (blend_nodes(nodes, near, weights, align=False).abs() - blend_nodes(flipped, near, weights, align=False).abs()).abs().max() > 0.1


def test_blending_agrees_with_the_general_one_where_motions_are_alike():
    generator = torch.Generator().manual_seed(2)
    nodes = dual_quat_from_rigid(make_rigid(so3_exp(0.3 * torch.randn(1, 9, 3, generator=generator)), torch.randn(1, 9, 3, generator=generator)))
    near = torch.randint(9, (20, 3), generator=generator)
    weights = torch.softmax(torch.randn(20, 3, generator=generator), dim=1)
    plain = dual_quat_to_rigid(dual_quat_blend(nodes[:, near], weights.expand(1, 20, 3)))
    points = torch.randn(20, 3, generator=generator)
    assert (skin(nodes, near, weights, points, torch.ones(20, 4), 0)[0] - apply_rigid(plain, points)).abs().max() < 1e-5


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("turned", [0, 2, 3])
def test_skinning_is_its_plain_twin_in_value_and_gradient(align, turned, each_isa):
    generator = torch.Generator().manual_seed(4)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    nodes = dual_quat_from_rigid(make_rigid(so3_exp(2 * normal(3, 7, 3)), normal(3, 7, 3)))
    points = 1500  # more than one chunk
    near = torch.stack([torch.randperm(7, generator=generator)[:3] for _ in range(points)])
    weights = torch.softmax(normal(points, 3), dim=1)
    inputs = [nodes, weights, normal(points, 3), normal(points, 4)]
    clear = blend_nodes(nodes, near, weights, align)[..., :4].norm(dim=-1).amin(0) > 0.3  # motions that nearly cancel are ill-conditioned
    near, inputs[1:] = near[clear], [value[clear] for value in inputs[1:]]
    results = []
    for way in (skin, skin_reference):
        own = [value.clone().requires_grad_(True) for value in inputs]
        moved, quats = way(own[0], near, own[1], own[2], own[3], turned, align)
        random = torch.Generator().manual_seed(5)
        total = sum((value * torch.randn(value.shape, generator=random, dtype=value.dtype)).sum() for value in (moved, quats))
        results.append((moved.detach(), quats.detach(), *torch.autograd.grad(total, own, allow_unused=True)))
    for one, other in zip(*results, strict=True):
        other = torch.zeros_like(one) if other is None else other
        assert one.shape == other.shape
        assert one.numel() == 0 or (one - other).abs().max() < 1e-4 * max(1.0, float(other.abs().max()))


def test_gradients_agree_with_finite_differences():
    layer = random_tree(2, points=6, dtype=torch.float64)
    names = [name for name in layer.shared if not name.startswith("node_parent")]
    times = TIMES.double()

    def moved(means: torch.Tensor, quats: torch.Tensor, *shared: torch.Tensor) -> tuple[torch.Tensor, ...]:
        changed = replace(layer, splats=layer.splats | {"means": means, "quat_wxyz": quats}, shared=dict(zip(names, shared, strict=True)))
        # what attaches a Gaussian to its nodes takes no gradient of its place: the place enters here as a constant
        weights = changed.motion.weights(replace(changed, splats=layer.splats))
        return skin(node_motions(changed, times)[-1].dual_quats(), layer.splats["near"], weights, means, quats, len(times))

    inputs = [layer.splats["means"], layer.splats["quat_wxyz"], *(layer.shared[name] for name in names)]
    inputs = [value.clone().requires_grad_(True) for value in inputs]
    # the pivot of a child is where its parent is, without gradient; with children that do not turn it does not matter
    inputs[2 + names.index("rotation6d_1")] = (
        matrix_to_rotation6d(torch.eye(3, dtype=torch.float64)).expand(layer.shared["rotation6d_1"].shape).clone()
    )
    assert torch.autograd.gradcheck(moved, inputs, eps=1e-6, atol=1e-6, rtol=1e-4)


def test_weights_are_normalised_gaussians_and_parity_is_the_released_form():
    generator = torch.Generator().manual_seed(3)
    points, nodes = torch.randn(30, 3, generator=generator), torch.randn(10, 3, generator=generator)
    radius, near = torch.rand(10, generator=generator) + 0.5, torch.randint(10, (30, 3), generator=generator)
    squared = (points[:, None] - nodes[near]).square().sum(-1)
    plain = torch.exp(-squared / (2 * radius[near] ** 2))
    assert (leaf_weights(points, nodes, radius.log(), near) - plain / plain.sum(1, keepdim=True)).abs().max() < 1e-5
    released = leaf_weights(points, nodes, radius.log(), near, parity=True)
    assert released.min() > 0.999 / (1 + 2 * math.e)
    assert released.max() < 1.001 * math.e / (math.e + 2)
    far = leaf_weights(points + 1000, nodes, radius.log(), near)
    assert torch.isfinite(far).all()
    assert (far.sum(1) - 1).abs().max() < 1e-5


def test_radii_and_sparse_choice():
    nodes = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert node_spacing(nodes) == pytest.approx([1, (1 + 2 * 2**0.5) / 3, (1 + 2 * 2**0.5) / 3, (1 + 2 * 2**0.5) / 3])
    assert log_radii(nodes).exp().max() <= node_spacing(nodes).max()
    random = np.random.default_rng(0)
    crowd = np.concatenate([random.normal(size=(900, 3)) * 0.05, random.uniform(-3, 3, (100, 3))])
    rows = sparse_rows(crowd, 50, random)
    assert len(np.unique(rows)) == 50
    assert (rows >= 900).mean() > 0.6


def test_a_scene_file_keeps_the_tree(tmp_path):
    scene = Scene([random_tree(2, parity=True)], (0.0, 1.0))
    save_scene(scene, tmp_path / "scene.safetensors")
    again = load_scene(tmp_path / "scene.safetensors")
    assert again.layers[0].motion == MotionTree(parity=True)
    assert again.layers[0].splats["near"].dtype == torch.int64
    for time in (0.0, 0.37, 1.0):
        assert torch.equal(scene.at(time).means, again.at(time).means)
        assert torch.equal(scene.at(time).quat_wxyz, again.at(time).quat_wxyz)


def test_means_alone_are_the_means_of_the_gaussians():
    layer = random_tree(2)
    assert torch.equal(layer.means_at(TIMES)[1], layer.motion.at(layer, TIMES)[1].means)
