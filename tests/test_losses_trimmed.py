"""The compiled trimmed mean and the compiled blended motion against their plain twins, for values and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.losses.robust import trimmed_l1
from fourfold.scene.blend import blend, blend_reference


def plain(residual: Tensor, weight: Tensor | None, level: float, axis: int | None) -> Tensor:
    """The definition, with the exact quantile."""
    if axis is not None:
        length = residual.shape[axis] - 1
        residual = residual.diff(dim=axis)
        weight = None if weight is None else weight.narrow(axis, 1, length) * weight.narrow(axis, 0, length)
    error = residual.abs()
    weight = torch.ones_like(error) if weight is None else weight
    known = error.detach()[weight > 0]
    if level < 1 and known.numel() > 1:
        limit = torch.quantile(known, level)
        weight = weight * (error <= limit if known.min() >= limit else error < limit)
    return (error * weight).sum() / (weight.sum() + 1e-8)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31 - 1),
    st.tuples(st.integers(2, 40), st.integers(2, 40)),
    st.sampled_from([1.0, 0.98, 0.5]),
    st.sampled_from([None, 0, 1]),
    st.sampled_from(["none", "some", "nothing"]),
)
def test_trimmed_l1_is_its_definition(seed: int, shape: tuple[int, int], level: float, axis: int | None, kind: str) -> None:
    random = torch.Generator().manual_seed(seed)
    residual = torch.randn(shape, generator=random).requires_grad_()
    share = torch.rand(shape, generator=random)
    weight = None if kind == "none" else share * (share > 0.4) if kind == "some" else torch.zeros(shape)
    got, want = trimmed_l1(residual, weight, level, axis), plain(residual, weight, level, axis)
    assert torch.allclose(got, want, rtol=2e-6, atol=1e-7)
    (by_kernel,), (by_torch,) = torch.autograd.grad(got, residual), torch.autograd.grad(want, residual)
    assert torch.allclose(by_kernel, by_torch, rtol=1e-5, atol=1e-7)


def test_alike_residuals_are_all_kept_and_a_bad_number_is_seen() -> None:
    assert torch.allclose(trimmed_l1(torch.full((4, 5), -2.0), None, 0.5), torch.tensor(2.0))
    bad = torch.ones(4, 5)
    bad[1, 2] = float("nan")
    assert torch.isnan(trimmed_l1(bad, None, 0.9))
    with pytest.raises(FourfoldError, match=r"trimmed_l1 got residuals of shape \(4,\)"):
        trimmed_l1(torch.ones(4))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(1, 70), st.integers(1, 5), st.integers(1, 4), st.integers(0, 4))
def test_blended_motion_is_its_plain_twin(seed: int, points: int, bases: int, times: int, turned: int) -> None:
    turned = min(turned, times)
    random = torch.Generator().manual_seed(seed)
    motions = torch.randn(times, bases, 9, generator=random)
    motions[..., [0, 4]] += (
        4.0 * torch.tensor([1.0, -1.0])[torch.randint(2, (times, bases, 2), generator=random)]
    )  # half turns too, far from degenerate
    inputs = [
        torch.randn(points, bases, generator=random),
        torch.randn(points, 3, generator=random),
        torch.randn(points, 4, generator=random),
        motions,
    ]
    inputs[0] = inputs[0] + 6.0 * torch.nn.functional.one_hot(torch.randint(bases, (points,), generator=random), bases)
    pivot = torch.randn(3, generator=random)
    results = []
    for function, dtype in ((blend, torch.float32), (blend_reference, torch.float64)):
        leaves = [value.to(dtype).requires_grad_() for value in inputs]
        positions, quats = function(*leaves, pivot.to(dtype), turned)
        pull = [torch.sin(torch.arange(value.numel(), dtype=dtype)).view(value.shape) for value in (positions, quats)]
        gradients = torch.autograd.grad((positions * pull[0]).sum() + (quats * pull[1]).sum(), leaves, allow_unused=True)
        results.append([positions, quats, *(torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, gradients, strict=True))])
    for got, want in zip(*results, strict=True):
        scale = max(1.0, float(want.detach().abs().max())) if want.numel() else 1.0
        assert torch.allclose(got.double(), want, rtol=0, atol=3e-5 * scale)


def test_blended_motion_does_not_depend_on_the_number_of_threads() -> None:
    from fourfold.render import cpu

    if not cpu.available():
        pytest.skip("no compiled kernel")
    random, before, results = torch.Generator().manual_seed(0), cpu.get_threads(), []
    inputs = [torch.randn(*shape, generator=random) for shape in ((5000, 4), (5000, 3), (5000, 4), (3, 4, 9))]
    try:
        for threads in (1, 3):
            cpu.set_threads(threads)
            leaves = [value.clone().requires_grad_() for value in inputs]
            positions, quats = blend(*leaves, torch.zeros(3), 1)
            results.append([positions, quats, *torch.autograd.grad(positions.square().sum() + quats.sum(), leaves)])
    finally:
        cpu.set_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
