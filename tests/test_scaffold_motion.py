"""The motion scaffold against closed forms: identity, rigid motion, signs, gradients, distances, and the geometric stage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fourfold.geometry.dual_quaternions import dual_quat_from_parts, dual_quat_to_parts
from fourfold.geometry.rotations import quat_multiply, quat_rotate
from fourfold.initialize.scaffold import scaffold_layer
from fourfold.initialize.scaffold_curves import carried, steady
from fourfold.initialize.scaffold_geometry import GeometryNumbers, settle_nodes
from fourfold.initialize.scaffold_nodes import NodeNumbers, Nodes, thinned, turned_with_neighbours
from fourfold.scene.carriers import Followers, carriers, carriers_reference, motion_table, motion_table_reference
from fourfold.scene.file import load_scene, save_scene
from fourfold.scene.motion.bounded import BoundedStatic, bounded_log_scale
from fourfold.scene.motion.scaffold import Scaffold
from fourfold.scene.rigidity import rigidity
from fourfold.scene.scaffold_nodes import accelerations, curve_distance, topology_of, velocities
from fourfold.scene.scene import STATIC, Layer, Scene

KNOTS = np.linspace(0, 1, 6)


def turning(angle: float, axis: int = 1) -> torch.Tensor:
    quat = torch.zeros(4, dtype=torch.float64)
    quat[0], quat[1 + axis] = np.cos(angle / 2), np.sin(angle / 2)
    return quat


def rigid_path(points: torch.Tensor, turn: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions (6, M, 3) and rotations (6, M, 4) of points of one rigid body that turns and walks."""
    quat = torch.stack([turning(turn * k) for k in range(len(KNOTS))])
    shift = torch.arange(6, dtype=torch.float64)[:, None] * torch.tensor([0.2, 0.05, -0.1], dtype=torch.float64)
    return quat_rotate(quat[:, None], points[None].expand(6, -1, 3)) + shift[:, None], quat[:, None].expand(6, len(points), 4).clone()


def made_nodes(rigid: bool = True, seed: int = 0, count: int = 40) -> Nodes:
    generator = torch.Generator().manual_seed(seed)
    xyz, quat = rigid_path(torch.rand(count, 3, generator=generator, dtype=torch.float64))
    if not rigid:
        xyz = xyz + 0.05 * torch.randn(xyz.shape, generator=generator, dtype=torch.float64)
        quat = torch.nn.functional.normalize(quat + 0.1 * torch.randn(quat.shape, generator=generator, dtype=torch.float64), dim=-1)
    topology = topology_of(curve_distance(xyz), 8, 10.0)
    return Nodes(xyz, quat, torch.ones(6, count, dtype=torch.bool), topology, 0.1)


def made_layer(nodes: Nodes, count: int = 30, seed: int = 1, **motion: object) -> Layer:
    generator = torch.Generator().manual_seed(seed)
    anchor = torch.randint(2, (count,), generator=generator)
    node = torch.randint(nodes.xyz.shape[1], (count,), generator=generator)
    knot = torch.tensor([1, 4])[anchor]
    means = nodes.xyz[knot, node] + 0.05 * torch.randn(count, 3, generator=generator, dtype=torch.float64)
    splats = {
        "means": means,
        "quat_wxyz": torch.randn(count, 4, generator=generator, dtype=torch.float64),
        "log_scale": torch.full((count, 3), -4.0, dtype=torch.float64),
        "opacity_logit": torch.zeros(count, dtype=torch.float64),
        "color_logit": torch.zeros(count, 3, dtype=torch.float64),
        "node": node,
        "anchor": anchor,
    }
    layer = scaffold_layer(nodes, KNOTS, splats, torch.tensor([1, 4]), Scaffold(**motion), NodeNumbers())
    shared = {name: value.double() for name, value in layer.shared.items()}
    fixed = {name: value.double() if value.is_floating_point() else value for name, value in layer.fixed.items()}
    return replace(layer, shared=shared, fixed=fixed)


@pytest.mark.parametrize("pull", [True, False])
def test_at_its_reference_time_a_gaussian_is_where_it_was_put(pull):
    layer = made_layer(made_nodes(rigid=False), pull=pull)
    for number, knot in enumerate((1, 4)):
        moved = layer.motion.at(layer, torch.tensor([KNOTS[knot]], dtype=torch.float64))[0]
        rows = layer.splats["anchor"] == number
        assert torch.allclose(moved.means[rows], layer.splats["means"][rows], atol=1e-9)
        same = (torch.nn.functional.normalize(layer.splats["quat_wxyz"][rows], dim=1) * moved.quat_wxyz[rows]).sum(1).abs()
        assert torch.allclose(same, torch.ones_like(same), atol=1e-9)


def test_a_rigid_scene_stays_rigid():
    layer = made_layer(made_nodes(), pull=False)
    times = torch.from_numpy(KNOTS)
    moved = layer.means_at(times)
    for number, knot in enumerate((1, 4)):
        rows = layer.splats["anchor"] == number
        apart = torch.cdist(moved[:, rows], moved[:, rows])
        assert (apart - apart[knot]).abs().max() < 1e-4 * apart.max()
        turn = quat_multiply(turning(0.5 * 5), turning(-0.5 * knot))
        base = torch.tensor([0.2, 0.05, -0.1], dtype=torch.float64)
        truth = quat_rotate(turn.expand(int(rows.sum()), 4), layer.splats["means"][rows] - knot * base) + 5 * base
        assert torch.allclose(moved[5, rows], truth, atol=1e-6)


def test_distant_gaussians_are_held_by_the_world():
    layer = made_layer(made_nodes())
    layer.splats["means"] += 100.0
    moved = layer.means_at(torch.from_numpy(KNOTS))
    assert (moved - layer.splats["means"]).abs().max() < 0.02


def test_signs_of_quaternions_mean_nothing():
    nodes = made_nodes(rigid=False)
    layer = made_layer(nodes)
    times = torch.from_numpy(KNOTS)
    before = layer.motion.at(layer, times)
    flips = torch.where(torch.arange(40) % 3 == 0, -1.0, 1.0).double()
    layer.shared["node_quat"] = layer.shared["node_quat"] * flips[None, :, None]
    for a, b in zip(before, layer.motion.at(layer, times), strict=True):
        assert torch.allclose(a.means, b.means, atol=1e-9)
        assert torch.allclose((a.quat_wxyz * b.quat_wxyz).sum(1).abs(), torch.ones(30, dtype=torch.float64), atol=1e-9)


@pytest.mark.parametrize(("radius", "checked"), [(1.0, (1, 2, 3)), (1e4, (0, 1, 2))])
def test_gradients_are_those_of_finite_differences(radius, checked):
    """With wide nodes the weights do not depend on positions, whose part in the weights carries no gradient by design."""
    layer = made_layer(made_nodes(rigid=False, count=6), count=4)
    layer.fixed["radius_max"] = torch.tensor(radius, dtype=torch.float64)
    names = [("shared", "node_xyz"), ("shared", "node_quat"), ("splats", "means"), ("shared", "radius_logit")]
    leaves = [getattr(layer, group)[name].clone().requires_grad_() for group, name in names]
    weights = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    held = layer.splats["means"].clone()  # skinning weights do not follow positions: hold them in the differences too

    def value(*inputs: torch.Tensor) -> torch.Tensor:
        made = replace(layer, shared=dict(layer.shared), splats=dict(layer.splats))
        made.shared["node_xyz"], made.shared["node_quat"], _, made.shared["radius_logit"] = inputs
        made.splats["means"] = held
        shifted = inputs[2] - held
        moved = made.motion.at(made, torch.tensor([0.1, 0.55, 0.9], dtype=torch.float64))
        turned = torch.stack([quat_rotate(quat_multiply(m.quat_wxyz, _back(made)), shifted) for m in moved])
        return (weights * (torch.stack([m.means for m in moved]) + turned)).sum()

    def _back(made: Layer) -> torch.Tensor:
        quat = torch.nn.functional.normalize(made.splats["quat_wxyz"], dim=1)
        return torch.cat([quat[:, :1], -quat[:, 1:]], dim=1)

    auto = torch.autograd.grad(value(*leaves), leaves)
    generator = torch.Generator().manual_seed(5)
    for number in checked:
        way = torch.randn(leaves[number].shape, generator=generator, dtype=torch.float64)
        ends = []
        for sign in (1, -1):
            moved = [leaf.detach() + (1e-6 * sign * way if i == number else 0) for i, leaf in enumerate(leaves)]
            ends.append(value(*moved))
        assert abs(float((ends[0] - ends[1]) / 2e-6) - float((auto[number] * way).sum())) < 1e-5 * (1 + abs(float((auto[number] * way).sum())))


def test_curve_distance_is_symmetric_and_knows_what_it_does_not_know():
    generator = torch.Generator().manual_seed(0)
    xyz = torch.rand(20, 9, 3, generator=generator)
    known = torch.rand(20, 9, generator=generator) > 0.4
    distance = curve_distance(xyz, known)
    assert torch.equal(distance, distance.T)
    plain = (xyz[:, :, None] - xyz[:, None]).norm(dim=-1)
    assert torch.allclose(curve_distance(xyz), plain.sort(dim=0).values[-3], atol=1e-6)
    known[:, 0] = False
    assert torch.isinf(curve_distance(xyz, known)[0, 1:]).all()
    topology = topology_of(curve_distance(xyz), 4, 0.5)
    assert torch.equal(topology.near[:, 0], torch.arange(9)) and topology.valid[:, 0].all()


def plain_distance(xyz, known, largest):
    """The definition for two curves: the largest-th largest distance, of a rank that shrinks with what is known."""
    common = (xyz[:, 0] - xyz[:, 1]).norm(dim=-1)[known.all(1)].sort(descending=True).values
    rank = -(-min(largest, len(xyz)) * len(common) // len(xyz))
    return common[max(rank, 1) - 1] if len(common) else torch.tensor(torch.inf)


@pytest.mark.parametrize("largest", [1, 3, 30])
def test_distances_of_partly_known_curves_follow_the_definition(largest):
    generator = torch.Generator().manual_seed(3)
    xyz, known = torch.rand(14, 6, 3, generator=generator), torch.rand(14, 6, generator=generator) > 0.5
    others = torch.tensor([4, 1])
    found = curve_distance(xyz, known, largest, others=others)
    for i in range(6):
        for column, j in enumerate(others.tolist()):
            assert torch.allclose(found[i, column], plain_distance(xyz[:, [i, j]], known[:, [i, j]], largest), atol=1e-6)


@pytest.mark.parametrize("terms", [(1.0, 0.0), (0.5, 2.0)])
@pytest.mark.parametrize("shifts", [(1,), (1, 3, 6), (2, 50)])
def test_rigidity_is_its_plain_twin_in_value_and_gradient(shifts, terms, each_isa):
    nodes = made_nodes(rigid=False)
    generator = torch.Generator().manual_seed(2)
    topology = replace(nodes.topology, valid=torch.rand(nodes.topology.valid.shape, generator=generator) > 0.3)
    weights = tuple(0.5**i for i in range(len(shifts)))
    results = []
    for dtype in (torch.float32, torch.float64):  # the twin serves doubles
        xyz, quat = (nodes.xyz + 0.05 * torch.rand(nodes.xyz.shape, generator=generator.manual_seed(4))).to(dtype), nodes.quat.to(dtype)
        xyz.requires_grad_(), quat.requires_grad_()
        value = rigidity(xyz, torch.nn.functional.normalize(quat, dim=-1), topology, shifts, weights, terms)
        value.backward()
        results.append([tensor.detach().double() for tensor in (value, xyz.grad, quat.grad)])
    for ours, twin in zip(*results, strict=True):
        assert (ours - twin).abs().max() <= 2e-5 * twin.abs().max()


def random_poses(times, nodes, generator):
    xyz, quat = torch.rand(times, nodes, 3, generator=generator), torch.randn(times, nodes, 4, generator=generator)
    return xyz, torch.nn.functional.normalize(quat, dim=-1)


def test_table_takes_nodes_from_then_to_now(each_isa):
    generator = torch.Generator().manual_seed(5)
    now, then = random_poses(2, 7, generator), random_poses(3, 7, generator)
    table = motion_table(*(dual_quat_from_parts(quat, xyz) for xyz, quat in (now, then)))
    quat, shift = dual_quat_to_parts(table[:, :-1].unflatten(1, (3, 7)))
    local = torch.rand(7, 3, generator=generator)
    before, after = (quat_rotate(turn, local.expand(turn.shape[0], 7, 3)) + xyz for xyz, turn in (then, now))
    assert torch.allclose(quat_rotate(quat, before.expand(2, 3, 7, 3)) + shift, after[:, None].expand(2, 3, 7, 3), atol=1e-5)
    assert torch.equal(table[:, -1], torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 0]).expand(2, 8))


def test_table_is_its_plain_twin_in_value_and_gradient(each_isa):
    generator = torch.Generator().manual_seed(6)
    now, then = torch.randn(2, 7, 8, generator=generator), torch.randn(3, 7, 8, generator=generator)
    of, results = torch.randn(2, 22, 8, generator=generator), []
    for way in (motion_table, motion_table_reference):
        inputs = [now.clone().requires_grad_(), then.clone().requires_grad_()]
        table = way(*inputs)
        results.append([table.detach(), *torch.autograd.grad((table * of).sum(), inputs)])
    assert all(torch.allclose(ours, twin, atol=1e-5) for ours, twin in zip(*results, strict=True))


@pytest.mark.parametrize("pull", [True, False])
@pytest.mark.parametrize("reach", [0.05, 3.0])  # points that the nodes hardly hold, and such as they hold more than fully
def test_weights_are_their_plain_twin_in_value_and_gradient(reach, pull, each_isa):
    generator = torch.Generator().manual_seed(7)
    near, valid = torch.randint(7, (7, 5), generator=generator), torch.rand(7, 5, generator=generator) > 0.3
    valid[:, 0] = True
    anchor, node = (torch.randint(size, (600,), generator=generator) for size in (3, 7))
    then = torch.rand(3, 7, 3, generator=generator)
    means = then[anchor, node] + 0.05 * torch.randn(600, 3, generator=generator)
    points = Followers(means, anchor, node, then, near, valid)
    radius, of = reach * (1 + torch.rand(7, generator=generator)), torch.randn(600, 5 + pull, generator=generator)
    ours, twin = radius.clone().requires_grad_(), radius.double().requires_grad_()
    rows, weights = carriers(points, ours, pull)
    doubled = replace(points, means=means.double(), then=then.double())
    plain_rows, plain = carriers_reference(doubled, -0.5 / twin.square(), pull)
    assert torch.equal(rows, plain_rows) and torch.allclose(weights.double(), plain, atol=1e-6)
    gradients = [torch.autograd.grad((value * of).sum(), leaf)[0].double() for value, leaf in ((weights, ours), (plain, twin))]
    assert (gradients[0] - gradients[1]).abs().max() <= 1e-4 * gradients[1].abs().max()


def test_rigid_motion_costs_nothing_and_bending_does():
    nodes = made_nodes()
    coordinate, length = (rigidity(nodes.xyz, nodes.quat, nodes.topology, (1, 3), (0.6, 0.4), terms) for terms in ((1.0, 0.0), (0.0, 1.0)))
    assert coordinate < 1e-5 and length < 1e-6
    bent = made_nodes(rigid=False)
    assert rigidity(bent.xyz, bent.quat, bent.topology, (1, 3), (0.6, 0.4), (1.0, 0.0)) > 0.05
    speed, spin = velocities(nodes.xyz, nodes.quat)
    assert torch.allclose(spin, torch.full_like(spin, 0.5), atol=1e-6)
    assert accelerations(nodes.xyz * 0 + 1, spin)[0].max() < 1e-5 and speed.min() > 0


def test_rotations_follow_the_neighbours():
    nodes = made_nodes()
    quat = turned_with_neighbours(nodes.xyz, nodes.topology)
    assert torch.allclose((quat * nodes.quat).sum(-1).abs(), torch.ones(6, 40, dtype=torch.float64), atol=1e-6)


def test_certain_positions_stay_and_hidden_ones_are_found():
    nodes = made_nodes()
    certain = nodes.certain.clone()
    certain[3, ::4] = False
    spoiled = nodes.xyz.clone()
    spoiled[3, ::4] += 0.2
    start = replace(nodes, xyz=spoiled, certain=certain)
    settled = settle_nodes(start, 1.0, GeometryNumbers(steps=200, shifts=(1, 2), shift_weights=(0.6, 0.4), levels=()))
    assert torch.equal(settled.xyz[certain], spoiled[certain])
    assert (settled.xyz - nodes.xyz)[~certain].norm(dim=-1).mean() < 0.25 * (spoiled - nodes.xyz)[~certain].norm(dim=-1).mean()


def test_hidden_moments_are_carried_by_the_neighbours():
    xyz = made_nodes().xyz.transpose(0, 1).numpy()
    certain = np.ones(xyz.shape[:2], bool)
    certain[::5, 2:4] = False
    certain[1::5, 4:] = False
    held = np.where(certain[..., None], xyz, 0)
    filled = carried(held, certain, 8)
    assert np.abs(filled - xyz).max() < 1e-6
    jump = xyz.copy()
    jump[7, 3] += 1.0
    assert (~steady(jump, np.ones(xyz.shape[:2], bool), 0.3)).nonzero()[0].tolist() == [7]


def test_thinned_curves_keep_their_distance():
    generator = torch.Generator().manual_seed(2)
    xyz = torch.rand(1, 300, 3, generator=generator).expand(5, 300, 3)
    rows = thinned(xyz, 0.2)
    apart = torch.cdist(xyz[0, rows], xyz[0, rows]) + torch.eye(len(rows))
    assert apart.min() > 0.2 and torch.cdist(xyz[0], xyz[0, rows]).min(1).values.max() <= 0.2 and rows[0] == 0


def test_scales_are_bounded_and_small_ones_are_not_changed():
    log_scale = torch.linspace(-12, 5, 30, dtype=torch.float64)
    bounded = bounded_log_scale(log_scale, 0.1)
    assert bounded.exp().max() < 0.1 and torch.allclose(bounded[:8], log_scale[:8], atol=1e-2)
    assert torch.allclose(bounded.exp(), 0.1 * torch.sigmoid(log_scale - np.log(0.1)))
    assert torch.equal(bounded_log_scale(log_scale, 0.0), log_scale)


def test_a_scaffold_survives_the_file(tmp_path):
    layer = made_layer(made_nodes(rigid=False), largest=0.02)
    still = Layer("static", STATIC, BoundedStatic(0.1), {k: v for k, v in layer.splats.items() if k not in ("node", "anchor")})
    scene = Scene([still, layer], (0.0, 1.0))
    save_scene(scene, tmp_path / "scene.safetensors")
    again = load_scene(tmp_path / "scene.safetensors")
    a, b = scene.at(0.37), again.at(0.37)
    assert torch.equal(a.means, b.means) and torch.equal(a.log_scale, b.log_scale)
