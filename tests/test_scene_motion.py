"""Motion models against plain twins, closed forms and finite differences."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fourfold.geometry.blended_motion import move_by_rotation6d
from fourfold.geometry.interpolation import cubic_matrix
from fourfold.geometry.rigid import apply_rigid, se3_exp
from fourfold.geometry.rotations import (
    matrix_to_quat,
    matrix_to_rotation6d,
    quat_multiply,
    quat_to_matrix,
    rotation6d_to_matrix,
)
from fourfold.scene.motion import motion_kinds
from fourfold.scene.motion.linear import Linear
from fourfold.scene.motion.se3_bases import SE3Bases, basis_transforms
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import Layer, Scene

seeds = st.integers(0, 2**31 - 1)
quick = settings(max_examples=15, deadline=None)


def splats(n: int, seed: int, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"means": (n, 3), "quat_wxyz": (n, 4), "log_scale": (n, 3), "opacity_logit": (n,), "color_logit": (n, 3)}
    return {name: torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype) for name, shape in shapes.items()}


def bases_layer(n: int = 6, bases: int = 3, knots: int = 5, seed: int = 0, dtype: torch.dtype = torch.float64) -> Layer:
    generator = torch.Generator().manual_seed(seed)
    values = splats(n, seed, dtype) | {"motion_logits": torch.randn(n, bases, generator=generator, dtype=torch.float64).to(dtype)}
    twists = torch.randn(bases, knots, 6, generator=generator, dtype=torch.float64)
    transforms = se3_exp(twists)
    shared = {"rotation6d": matrix_to_rotation6d(transforms[..., :3, :3]).to(dtype), "translation": transforms[..., :3, 3].to(dtype)}
    times = torch.cumsum(torch.rand(knots, generator=generator, dtype=torch.float64) + 0.1, 0)
    return Layer("object", "dynamic", SE3Bases(), values, shared, {"knots": times.to(dtype), "pivot": torch.tensor([0.5, -1.0, 4.0], dtype=dtype)})


def plain_twin(layer: Layer, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The equations of the specification, one after the other."""
    weights = torch.softmax(layer.splats["motion_logits"], -1)
    between = cubic_matrix(layer.fixed["knots"], times)
    rotation6d = torch.einsum("nb,qk,bkc->qnc", weights, between, layer.shared["rotation6d"])
    translation = torch.einsum("nb,qk,bkc->qnc", weights, between, layer.shared["translation"])
    rotation, pivot = rotation6d_to_matrix(rotation6d), layer.fixed["pivot"]
    means = (rotation @ (layer.splats["means"] - pivot)[..., None]).squeeze(-1) + pivot + translation
    return means, rotation @ quat_to_matrix(layer.splats["quat_wxyz"])


def test_every_motion_model_is_found_frozen_and_named() -> None:
    kinds = motion_kinds()
    assert {"static", "se3_bases", "linear"} <= set(kinds)
    for kind, model in kinds.items():
        assert model.kind == kind
    with pytest.raises(FrozenInstanceError):
        Static().kind = "other"  # type: ignore[misc]


@quick
@given(seeds)
def test_bases_agree_with_the_plain_twin_in_value_and_gradient(seed: int) -> None:
    layer = bases_layer(seed=seed)
    times = torch.tensor([-1.0, 0.3, 0.9, 99.0], dtype=torch.float64)
    leaves = [*layer.splats.values(), *layer.shared.values()]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    push = torch.randn(4, 6, 3, dtype=torch.float64), torch.randn(4, 6, 3, 3, dtype=torch.float64)
    means, quats = layer.motion.moved(layer, times)
    got = torch.autograd.grad((means * push[0]).sum() + (quat_to_matrix(quats) * push[1]).sum(), leaves, allow_unused=True)
    expected_means, expected_rotation = plain_twin(layer, times)
    expected = torch.autograd.grad((expected_means * push[0]).sum() + (expected_rotation * push[1]).sum(), leaves, allow_unused=True)
    assert torch.allclose(means, expected_means, atol=1e-11)
    assert torch.allclose(quat_to_matrix(quats), expected_rotation, atol=1e-11)
    assert torch.allclose(quats.norm(dim=-1), torch.ones(4, 6, dtype=torch.float64), atol=1e-11)
    for one, two in zip(got, expected, strict=True):
        assert (one is None) == (two is None)
        assert one is None or torch.allclose(one, two, atol=1e-9, rtol=1e-8)


def test_bases_gradients_match_finite_differences_through_every_row_of_the_quaternion() -> None:
    axes = torch.tensor([[3.1, 0, 0], [0, 3.1, 0], [0, 0, 3.1], [0.2, 0.1, 0.3]], dtype=torch.float64)  # three nearly half turns
    turns = matrix_to_rotation6d(quat_to_matrix(torch.cat([torch.cos(axes.norm(dim=-1, keepdim=True) / 2), torch.sin(axes / 2)], -1)))
    rotation6d = (1.5 * turns).T[None].contiguous().requires_grad_()
    translation, offset = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((1, 3, 4), (3, 4)))
    quat = torch.nn.functional.normalize(torch.randn(4, 4, dtype=torch.float64), dim=0).requires_grad_()
    sign = torch.ones(1, 4, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda *a: [v * (sign if v.shape[1] == 4 else 1) for v in move_by_rotation6d(*a)], (rotation6d, translation, offset, quat)
    )
    layer = bases_layer(4, seed=5)
    leaves = [layer.splats["motion_logits"], layer.splats["means"], layer.shared["rotation6d"], layer.shared["translation"]]

    def moved(logits: torch.Tensor, means: torch.Tensor, rotation: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        changed = Layer(
            "o",
            "dynamic",
            SE3Bases(),
            layer.splats | {"motion_logits": logits, "means": means},
            {"rotation6d": rotation, "translation": shift},
            layer.fixed,
        )
        return layer.motion.moved(changed, torch.tensor([0.4, 0.7], dtype=torch.float64))[0]

    assert torch.autograd.gradcheck(moved, [leaf.requires_grad_() for leaf in leaves])


@quick
@given(seeds)
def test_one_basis_is_a_rigid_motion_exact_on_knots(seed: int) -> None:
    layer = bases_layer(n=8, bases=1, seed=seed)
    knots, pivot = layer.fixed["knots"], layer.fixed["pivot"]
    transforms = basis_transforms(layer, knots)[:, 0]
    gaussians = layer.motion.at(layer, knots)
    for k, moved in enumerate(gaussians):
        rotation = rotation6d_to_matrix(layer.shared["rotation6d"][0, k])
        expected = (layer.splats["means"] - pivot) @ rotation.T + pivot + layer.shared["translation"][0, k]
        assert torch.allclose(moved.means, expected, atol=1e-10), "knots are met exactly"
        assert torch.allclose(apply_rigid(transforms[k], layer.splats["means"]), expected, atol=1e-10)
        turned = quat_multiply(matrix_to_quat(rotation).expand(8, 4), torch.nn.functional.normalize(layer.splats["quat_wxyz"], dim=-1))
        assert torch.allclose((moved.quat_wxyz * turned).sum(-1).abs(), torch.ones(8, dtype=torch.float64), atol=1e-10)


def test_rigid_stays_rigid_in_single_precision_between_knots() -> None:
    layer = bases_layer(n=50, bases=4, knots=6, seed=2, dtype=torch.float32)
    layer.splats["motion_logits"] = torch.randn(1, 4).expand(50, 4).contiguous()  # all move alike
    before = torch.cdist(layer.splats["means"].double(), layer.splats["means"].double())
    for moved in layer.motion.at(layer, torch.linspace(-1, 5, 23)):
        after = torch.cdist(moved.means.double(), moved.means.double())
        assert (after - before).abs().max() < 1e-4
        assert (moved.quat_wxyz.norm(dim=-1) - 1).abs().max() < 1e-5


def test_times_and_rows_may_come_in_any_order() -> None:
    layer = bases_layer(n=7)
    times = torch.tensor([0.2, 0.8, 0.5], dtype=torch.float64)
    together = layer.motion.at(layer, times)
    for index, time in enumerate(times):
        alone = layer.motion.at(layer, time[None])[0]
        assert torch.allclose(alone.means, together[index].means, atol=1e-12)
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])
    shuffled = Layer("object", "dynamic", layer.motion, {k: v[order] for k, v in layer.splats.items()}, layer.shared, layer.fixed)
    assert torch.allclose(shuffled.motion.at(shuffled, times)[1].means, together[1].means[order], atol=1e-12)


def test_linear_motion_and_its_lifetime() -> None:
    values = splats(3, 1) | {
        "velocity": torch.tensor([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 0]], dtype=torch.float64),
        "time_center": torch.tensor([0.5, 1.0, 0.0], dtype=torch.float64),
        "log_duration": torch.log(torch.tensor([0.1, 1.0, 1e6], dtype=torch.float64)),
    }
    layer = Layer("free", "dynamic", Linear(), values)
    at = layer.motion.at(layer, torch.tensor([0.5, 0.6, 2.0], dtype=torch.float64))
    assert torch.allclose(at[0].means[0], values["means"][0])
    assert torch.allclose(at[2].means[1], values["means"][1] + torch.tensor([0, 2.0, 0], dtype=torch.float64))
    visibility = [g.visibility for g in at]
    assert visibility[0] is not None and visibility[1] is not None
    np.testing.assert_allclose([visibility[0][0], visibility[1][0], visibility[0][2]], [1.0, np.exp(-0.5), 1.0], atol=1e-9)
    leaves = {k: v.requires_grad_() for k, v in values.items() if k in ("means", "velocity", "time_center", "log_duration")}

    def moved(*changed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        other = Layer("free", "dynamic", Linear(), values | dict(zip(leaves, changed, strict=True)))
        gaussians = other.motion.at(other, torch.tensor([0.55], dtype=torch.float64))[0]
        assert gaussians.visibility is not None
        return gaussians.means, gaussians.visibility

    assert torch.autograd.gradcheck(moved, tuple(leaves.values()))


def test_a_scene_concatenates_its_layers_in_order() -> None:
    static = Layer("static", "static", Static(), splats(4, 7))
    moving = bases_layer(n=3)
    scene = Scene([static, moving], time_range=(0.0, 1.0))
    gaussians = scene.at(0.5)
    assert len(gaussians) == 7 and torch.equal(gaussians.means[scene.slices()["static"]], static.splats["means"])
    assert torch.allclose(gaussians.means[scene.slices()["object"]], moving.motion.at(moving, torch.tensor([0.5], dtype=torch.float64))[0].means)
    assert scene.dynamic_rows().tolist() == [0.0] * 4 + [1.0] * 3
    residual = Layer("free", "dynamic", Static(), splats(2, 8))
    with_rest = Scene([static, moving, residual], time_range=(0.0, 1.0))
    assert with_rest.dynamic_rows().tolist() == [0.0] * 4 + [1.0] * 5
    assert with_rest.foreground_rows().tolist() == [0.0] * 4 + [1.0] * 3 + [0.0] * 2, "residual Gaussians are not the masks' movers"
    alone = Scene([static, residual], time_range=(0.0, 1.0))
    assert alone.foreground_rows().tolist() == alone.dynamic_rows().tolist(), "unless there are no others"
