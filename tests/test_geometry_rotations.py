"""Rotations, rigid motions and dual quaternions against scipy, matrix exponentials and the group axioms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.spatial.transform import Rotation, Slerp

from fourfold.geometry.dual_quaternions import dual_quat_blend, dual_quat_from_rigid, dual_quat_to_rigid
from fourfold.geometry.rigid import apply_rigid, compose, inverse, make_rigid, se3_exp, se3_log
from fourfold.geometry.rotations import (
    matrix_to_quat,
    matrix_to_rotation6d,
    quat_exp,
    quat_log,
    quat_multiply,
    quat_rotate,
    quat_to_matrix,
    rotation6d_to_matrix,
    slerp,
    so3_exp,
    so3_log,
)

seeds = st.integers(0, 2**31 - 1)
quick = settings(max_examples=25, deadline=None)


def random_quats(seed: int, n: int = 7) -> torch.Tensor:
    values = torch.randn(n, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(values, dim=-1)


def random_rigid(seed: int, n: int = 7) -> torch.Tensor:
    shift = torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))
    return make_rigid(quat_to_matrix(random_quats(seed, n)), shift)


@quick
@given(seeds)
def test_quaternions_agree_with_scipy(seed: int) -> None:
    a, b = random_quats(seed), random_quats(seed + 1)
    reference_a, reference_b = (Rotation.from_quat(q.numpy(), scalar_first=True) for q in (a, b))
    np.testing.assert_allclose(quat_to_matrix(3.0 * a).numpy(), reference_a.as_matrix(), atol=1e-13)
    np.testing.assert_allclose(quat_to_matrix(quat_multiply(a, b)).numpy(), (reference_a * reference_b).as_matrix(), atol=1e-13)
    np.testing.assert_allclose(so3_log(quat_to_matrix(a)).numpy(), reference_a.as_rotvec(), atol=1e-9)
    points = torch.randn(7, 3, dtype=torch.float64)
    np.testing.assert_allclose(quat_rotate(a, points).numpy(), reference_a.apply(points.numpy()), atol=1e-12)


@quick
@given(seeds)
def test_round_trips(seed: int) -> None:
    quat = random_quats(seed)
    rotation = quat_to_matrix(quat)
    assert torch.allclose(quat_to_matrix(matrix_to_quat(rotation)), rotation, atol=1e-13)
    assert torch.allclose(rotation6d_to_matrix(matrix_to_rotation6d(rotation)), rotation, atol=1e-13)
    assert torch.allclose(so3_exp(so3_log(rotation)), rotation, atol=1e-12)
    assert torch.allclose((quat_exp(quat_log(quat)) * quat).sum(-1).abs(), torch.ones(7, dtype=torch.float64), atol=1e-12)
    transform = random_rigid(seed)
    assert torch.allclose(se3_exp(se3_log(transform)), transform, atol=1e-10)
    assert torch.allclose(dual_quat_to_rigid(dual_quat_from_rigid(transform)), transform, atol=1e-12)


@pytest.mark.parametrize("axis", [(1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0), (0.6, 0.8, 0), (0, -0.6, 0.8)])
@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, 1e-3, 1.0, np.pi - 1e-7, np.pi])
def test_half_turns_and_tiny_turns(axis: tuple[float, float, float], angle: float) -> None:
    vector = angle * np.array(axis)
    expected = Rotation.from_rotvec(vector).as_matrix()
    rotation = so3_exp(torch.tensor(vector))
    np.testing.assert_allclose(rotation.numpy(), expected, atol=1e-14)
    np.testing.assert_allclose(so3_exp(so3_log(rotation)).numpy(), expected, atol=1e-12)
    single = matrix_to_quat(torch.tensor(expected, dtype=torch.float32))
    np.testing.assert_allclose(quat_to_matrix(single).numpy(), expected, atol=1e-6)


@quick
@given(seeds)
def test_rigid_group_axioms(seed: int) -> None:
    a, b, c = random_rigid(seed), random_rigid(seed + 10), random_rigid(seed + 20)
    points = torch.randn(7, 3, dtype=torch.float64)
    assert torch.allclose(compose(compose(a, b), c), compose(a, compose(b, c)), atol=1e-12)
    assert torch.allclose(compose(a, inverse(a)), torch.eye(4, dtype=torch.float64).expand(7, 4, 4), atol=1e-12)
    assert torch.allclose(apply_rigid(compose(a, b), points), apply_rigid(a, apply_rigid(b, points)), atol=1e-12)
    assert torch.allclose(apply_rigid(a[0], points), apply_rigid(a[:1].expand(7, 4, 4), points), atol=1e-13)


@pytest.mark.parametrize("size", [1e-12, 1e-5, 1e-3, 0.02, 1.0, 3.0])
def test_se3_exponential_is_the_matrix_exponential(size: float) -> None:
    twist = size * torch.tensor([0.3, -0.5, 0.8, 1.0, 2.0, -3.0], dtype=torch.float64)
    x, y, z = twist[:3].tolist()
    generator = np.zeros((4, 4))
    generator[:3] = [[0, -z, y, twist[3]], [z, 0, -x, twist[4]], [-y, x, 0, twist[5]]]
    np.testing.assert_allclose(se3_exp(twist).numpy(), expm(generator), atol=1e-9 * max(size, 1e-3))


def test_gradients_match_finite_differences_also_at_the_identity() -> None:
    vectors = torch.tensor([[0.0, 0, 0], [1e-6, 0, 0], [0.3, -0.2, 0.5], [2.5, 1.0, -1.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(so3_exp, vectors)
    assert torch.autograd.gradcheck(lambda v: so3_log(so3_exp(v)), vectors.detach()[2:3].requires_grad_(True))
    assert torch.autograd.gradcheck(lambda q: quat_log(q / q.norm(dim=-1, keepdim=True)), random_quats(3).requires_grad_(True))
    twists = torch.cat([vectors.detach(), torch.ones(4, 3, dtype=torch.float64)], dim=-1).requires_grad_(True)
    assert torch.autograd.gradcheck(se3_exp, twists)
    zero = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    (jacobian,) = torch.autograd.grad(so3_log(so3_exp(zero))[0, 1], zero)
    assert torch.allclose(jacobian, torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64), atol=1e-12)


@quick
@given(seeds, st.floats(0, 1))
def test_slerp_agrees_with_scipy(seed: int, fraction: float) -> None:
    ends = random_quats(seed, 2)
    if (ends[0] * ends[1]).sum().abs() < 1e-3:
        return  # nearly opposite: either way round is right
    expected = Slerp([0, 1], Rotation.from_quat(ends.numpy(), scalar_first=True))(fraction).as_matrix()
    got = quat_to_matrix(slerp(ends[:1], ends[1:], torch.tensor([fraction], dtype=torch.float64)))
    np.testing.assert_allclose(got[0].numpy(), expected, atol=1e-9)


@quick
@given(seeds)
def test_dual_quaternion_blending(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    motions = random_rigid(seed, 4)
    quats = dual_quat_from_rigid(motions)
    weights = torch.rand(6, 4, dtype=torch.float64, generator=generator) + 0.01
    signs = torch.where(torch.rand(4, 1, generator=generator) < 0.5, -1.0, 1.0).double()
    blended = dual_quat_to_rigid(dual_quat_blend(quats, weights))
    assert torch.allclose(dual_quat_to_rigid(dual_quat_blend(signs * quats, weights)), blended, atol=1e-10), "q and -q are one motion"
    same = dual_quat_to_rigid(dual_quat_blend(quats[:1].expand(4, 8), weights))
    assert torch.allclose(same, motions[:1].expand(6, 4, 4), atol=1e-12), "blending equal motions changes nothing"
    world = random_rigid(seed + 5, 1)
    left = dual_quat_to_rigid(dual_quat_blend(dual_quat_from_rigid(world @ motions), weights))
    close = (blended[:, :3, :3].det() - 1).abs().max()
    assert close < 1e-10
    # equivariant under a change of the world frame wherever no sign choice is on the edge
    alignment = (quats[:, None, :4] * quats[None, :, :4]).sum(-1).abs().min()
    if alignment > 1e-6:
        assert torch.allclose(left, world @ blended, atol=1e-8)
