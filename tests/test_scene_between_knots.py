"""Values between knots: the kernel is its plain twin, and cubics through knots of a line stay on it."""

import pytest
import torch

from fourfold.geometry.interpolation import cubic_matrix
from fourfold.scene.between_knots import between_knots, between_knots_reference


@pytest.mark.parametrize("rows", [1, 7, 150])
def test_the_kernel_is_its_plain_twin_in_value_and_gradient(rows, each_isa):
    generator = torch.Generator().manual_seed(rows)
    knots = torch.cumsum(torch.rand(11, generator=generator) + 0.1, 0)
    weights = cubic_matrix(knots, torch.tensor([-1.0, 0.5, float(knots[4]), 2.2, 99.0]))
    values = [torch.randn(rows, 11, width, generator=generator).requires_grad_() for width in (6, 3)]
    mine, twin = between_knots(weights, *values), between_knots_reference(weights, *values)
    torch.testing.assert_close(mine, twin, rtol=1e-5, atol=1e-6)
    of = torch.randn(mine.shape, generator=generator)
    for got, expected in zip(torch.autograd.grad(mine, values, of), torch.autograd.grad(twin, values, of), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_a_straight_line_stays_straight(each_isa):
    knots, times = torch.tensor([0.0, 0.4, 1.0, 1.5]), torch.tensor([0.1, 0.7, 1.4])
    start, speed = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 3.0]])
    found = between_knots(cubic_matrix(knots, times), start[:, None] + knots[None, :, None] * speed[:, None])
    torch.testing.assert_close(found, start + times[:, None, None] * speed, rtol=1e-5, atol=1e-5)
