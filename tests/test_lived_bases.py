"""Lives on shared bases: closed forms of the visibility, rigid equivariance, finite differences, the scene file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fourfold.geometry.rigid import apply_rigid, se3_exp
from fourfold.geometry.rotations import matrix_to_quat, matrix_to_rotation6d, quat_to_matrix, rotation6d_to_matrix
from fourfold.scene.file import load_scene, save_scene
from fourfold.scene.motion.lived_bases import LivedBases
from fourfold.scene.motion.se3_bases import SE3Bases
from fourfold.scene.scene import Layer, Scene

KNOTS = (0.0, 0.4, 1.0, 1.5)


def lived_layer(count: int = 6, bases: int = 3, seed: int = 0, dtype: torch.dtype = torch.float64) -> Layer:
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shapes = {"means": (count, 3), "quat_wxyz": (count, 4), "log_scale": (count, 3), "opacity_logit": (count,), "color_logit": (count, 3)}
    values = {name: drawn(*shape) for name, shape in shapes.items()} | {"motion_logits": drawn(count, bases)}
    values |= {"time_center": drawn(count).abs(), "log_duration": drawn(count) * 0.3 - 1, "log_radius": drawn(count) * 0.3 - 1.5}
    values |= {"velocity_before": drawn(count, 3), "velocity_after": drawn(count, 3)}
    transforms = se3_exp(drawn(bases, len(KNOTS), 6))
    shared = {"rotation6d": matrix_to_rotation6d(transforms[..., :3, :3]), "translation": transforms[..., :3, 3]}
    fixed = {"knots": torch.tensor(KNOTS), "pivot": torch.tensor([0.5, -1.0, 4.0])}
    groups = [{name: value.to(dtype) for name, value in group.items()} for group in (values, shared, fixed)]
    return Layer("object", "dynamic", LivedBases(), *groups)


def test_a_gaussian_is_there_within_its_radius_and_fades_by_the_square_beyond() -> None:
    layer = lived_layer(1)
    layer.splats |= {name: torch.tensor([value], dtype=torch.float64) for name, value in (("time_center", 1.0), ("log_radius", np.log(0.25)))}
    layer.splats["log_duration"] = torch.tensor([np.log(0.1)], dtype=torch.float64)
    seen = [g.visibility for g in layer.motion.at(layer, torch.tensor([0.75, 1.0, 1.25, 1.35, 0.55, 9.0], dtype=torch.float64))]
    np.testing.assert_allclose(np.array([float(v) for v in seen if v is not None]), [1, 1, 1, np.exp(-1), np.exp(-4), 0], atol=1e-12)


def test_a_life_changes_no_motion() -> None:
    layer, times = lived_layer(), torch.tensor([0.2, 0.9], dtype=torch.float64)
    layer.splats |= {name: torch.zeros_like(layer.splats[name]) for name in ("velocity_before", "velocity_after")}
    without = Layer("object", "dynamic", SE3Bases(), layer.splats, layer.shared, layer.fixed)
    for one, two in zip(layer.motion.at(layer, times), without.motion.at(without, times), strict=True):
        assert torch.equal(one.means, two.means) and torch.equal(one.quat_wxyz, two.quat_wxyz) and two.visibility is None
    assert torch.equal(layer.means_at(times), without.means_at(times))


def test_velocities_leave_the_bases_at_its_own_moment_one_before_it_and_one_after() -> None:
    layer = lived_layer(1)
    layer.splats["time_center"] = torch.tensor([0.7], dtype=torch.float64)
    times = torch.tensor([0.7, 1.2, 0.1], dtype=torch.float64)
    shared = Layer("object", "dynamic", SE3Bases(), layer.splats, layer.shared, layer.fixed).means_at(times)
    after, before = (layer.splats[name] for name in ("velocity_after", "velocity_before"))
    assert torch.allclose(layer.means_at(times) - shared, torch.stack([0 * after, 0.5 * after, -0.6 * before]), atol=1e-12)


def test_what_is_on_the_last_basis_rests_whatever_that_holds() -> None:
    layer, times = lived_layer(2), torch.tensor([0.2, 0.9, 1.3], dtype=torch.float64)
    layer.splats["motion_logits"] = torch.tensor([[-99.0, -99, 99], [99, -99, -99]], dtype=torch.float64)
    layer.splats |= {name: torch.zeros_like(layer.splats[name]) for name in ("velocity_before", "velocity_after")}
    free = layer.means_at(times)
    layer.motion = LivedBases(rests=True)
    resting = layer.motion.at(layer, times)
    for place, one in enumerate(resting):
        assert torch.allclose(one.means[0], layer.splats["means"][0], atol=1e-12) and torch.equal(one.means[1], free[place, 1])
        turned = quat_to_matrix(one.quat_wxyz[:1]) @ quat_to_matrix(layer.splats["quat_wxyz"][:1]).mT
        assert torch.allclose(turned, torch.eye(3, dtype=torch.float64)[None], atol=1e-9)


def test_a_moved_world_moves_the_gaussians_and_not_their_lives() -> None:
    """The world turned by G about the pivot's new place: bases become G B G^-1, and everything is seen where G brings it."""
    layer = lived_layer(bases=1)
    world = se3_exp(torch.tensor([0.3, -0.4, 0.2, 1.0, 2.0, -3.0], dtype=torch.float64))
    turn, pivot = world[:3, :3], layer.fixed["pivot"]
    splats = layer.splats | {"means": apply_rigid(world, layer.splats["means"])}
    splats |= {name: layer.splats[name] @ turn.T for name in ("velocity_before", "velocity_after")}
    rotation = turn @ quat_to_matrix(layer.splats["quat_wxyz"])
    splats["quat_wxyz"] = matrix_to_quat(rotation)
    turned = turn @ rotation6d_to_matrix(layer.shared["rotation6d"]) @ turn.T
    shared = {"rotation6d": matrix_to_rotation6d(turned), "translation": layer.shared["translation"] @ turn.T}
    fixed = layer.fixed | {"pivot": apply_rigid(world, pivot[None])[0]}
    moved = Layer("object", "dynamic", layer.motion, splats, shared, fixed)
    at = torch.tensor(KNOTS, dtype=torch.float64)
    for one, two in zip(layer.motion.at(layer, at), moved.motion.at(moved, at), strict=True):
        assert torch.allclose(apply_rigid(world, one.means), two.means, atol=1e-10)
        assert torch.allclose(turn @ quat_to_matrix(one.quat_wxyz), quat_to_matrix(two.quat_wxyz), atol=1e-10)
        assert one.visibility is not None and two.visibility is not None and torch.equal(one.visibility, two.visibility)


def test_gradients_of_lives_and_places_are_those_of_finite_differences() -> None:
    layer = lived_layer(4)
    names = ("means", "motion_logits", "time_center", "log_duration", "log_radius", "velocity_before", "velocity_after")
    times = torch.tensor([0.3, 1.2], dtype=torch.float64)

    def seen(*changed: Tensor) -> Tensor:
        other = Layer("object", "dynamic", layer.motion, layer.splats | dict(zip(names, changed, strict=True)), layer.shared, layer.fixed)
        return torch.stack([g.means * g.opacity[:, None] for g in other.motion.at(other, times)])

    assert torch.autograd.gradcheck(seen, tuple(layer.splats[name].clone().requires_grad_() for name in names))


@pytest.mark.parametrize("time", [0.1, 0.9])
def test_a_scene_file_keeps_it(tmp_path: Path, time: float) -> None:
    scene = Scene([replace(lived_layer(dtype=torch.float32), motion=LivedBases(rests=True))], (0.0, 1.5))
    save_scene(scene, tmp_path / "scene.safetensors")
    again = load_scene(tmp_path / "scene.safetensors")
    assert again.layers[0].motion == LivedBases(rests=True)
    before, after = scene.at(time), again.at(time)
    assert torch.equal(before.means, after.means) and torch.equal(before.opacity, after.opacity)
