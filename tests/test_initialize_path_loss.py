"""Paths against tracks: the compiled kernel agrees with its plain twin in float64, and that with differences of its own values."""

from __future__ import annotations

import pytest
import torch

from fourfold.initialize.path_loss import Followed, path_loss, path_loss_reference
from fourfold.render.cpu import get_threads, set_threads


def case(moments: int, points: int, dtype: torch.dtype) -> tuple[torch.Tensor, Followed]:
    random = torch.Generator().manual_seed(moments * points)
    moved, target = (torch.randn(moments, points, 3, generator=random, dtype=torch.float64) for _ in range(2))
    moved[0, 0] = target[0, 0]
    weight, camera = (
        torch.rand(moments, points, generator=random, dtype=torch.float64),
        torch.randn(moments, 3, generator=random, dtype=torch.float64),
    )
    return moved.to(dtype).requires_grad_(), Followed(target.to(dtype), weight.to(dtype), 3 * camera.to(dtype))


@pytest.mark.parametrize(("moments", "points"), [(1, 5), (2, 17), (3, 300), (11, 513)])
def test_the_kernel_agrees_with_its_twin(each_isa, moments, points):
    found = []
    for dtype in (torch.float32, torch.float64):
        moved, followed = case(moments, points, dtype)
        loss, data = path_loss(moved, followed, 0.3, 0.2)
        (gradient,) = torch.autograd.grad(2.5 * loss, moved)
        found.append((float(loss.detach()), data, gradient.double()))
    (loss, data, gradient), (wanted, wanted_data, expected) = found
    assert loss == pytest.approx(wanted, rel=1e-5)
    assert data == pytest.approx(wanted_data, rel=1e-5)
    assert float((gradient - expected).norm()) <= 1e-5 * float(expected.norm())


def test_the_gradient_is_that_of_the_value():
    moved, followed = case(4, 3, torch.float64)
    moved.data[0, 0] += 0.1
    assert torch.autograd.gradcheck(lambda x: path_loss_reference(x, followed, 0.3, 0.2)[0], moved)


def test_points_on_their_tracks_that_fly_straight_across_the_rays_lose_nothing():
    moved = torch.zeros(5, 2, 3)
    moved[..., 0] = torch.linspace(-1, 1, 5)[:, None]
    camera = moved[:, 0] - torch.tensor([0.0, 0.0, 2.0])
    loss, data = path_loss(moved, Followed(moved, torch.ones(5, 2), camera), 1.0, 1.0)
    assert float(loss) == pytest.approx(0, abs=1e-6)
    assert data == 0
    nearer = moved + torch.tensor([0.0, 0.0, 1.0]) * torch.arange(5)[:, None, None]
    assert float(path_loss(nearer, Followed(nearer, torch.ones(5, 2), camera), 0.0, 1.0)[0]) == pytest.approx(2.0, rel=0.2)  # one back, one forth


def test_any_number_of_threads_gives_the_same_bits():
    moved, followed = case(9, 2000, torch.float32)
    before, found = get_threads(), []
    try:
        for threads in (1, 2, 7):
            set_threads(threads)
            loss, _ = path_loss(moved, followed, 0.3, 0.2)
            found.append((loss.detach(), torch.autograd.grad(loss, moved)[0]))
    finally:
        set_threads(before)
    assert all(torch.equal(a, b) for one in found[1:] for a, b in zip(found[0], one, strict=True))
