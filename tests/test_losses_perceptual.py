"""LPIPS as a loss: gradients against finite differences, the reduction of images, and what is said without weights."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from fourfold import notices
from fourfold.losses import perceptual
from fourfold.losses.perceptual import Perceptual
from fourfold.priors.foundation.lpips import Lpips

CHANNELS = ((64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3))
LAYERS = (0, 3, 6, 8, 10)


@pytest.fixture
def random_alex() -> Lpips:
    """AlexNet's shape with random weights in float64, so that differences of its outputs mean something."""
    draw = torch.Generator().manual_seed(0)
    network = object.__new__(Lpips)
    network.network = "alex"
    network.state = {}
    for layer, (out, inside, size) in zip(LAYERS, CHANNELS, strict=True):
        weight = torch.randn(out, inside, size, size, generator=draw, dtype=torch.float64)
        network.state[f"features.{layer}.weight"] = weight / (inside * size * size) ** 0.5
        network.state[f"features.{layer}.bias"] = 0.1 * torch.randn(out, generator=draw, dtype=torch.float64)
    network.heads = [torch.rand(1, out, 1, 1, generator=draw, dtype=torch.float64) for out, _, _ in CHANNELS]
    return network


def step_of(image: torch.Tensor, truth: torch.Tensor):
    return SimpleNamespace(renders=[SimpleNamespace(color=image)], samples=[SimpleNamespace(image=truth)])


def test_the_gradient_is_that_of_finite_differences(random_alex: Lpips, monkeypatch) -> None:
    monkeypatch.setattr(perceptual, "network_here", lambda name: random_alex)
    draw = torch.Generator().manual_seed(1)
    truth, image, along = (torch.rand(64, 72, 3, generator=draw, dtype=torch.float64) for _ in range(3))
    loss = Perceptual("alex", size=0.5)  # stays at 64 pixels: smaller is nothing the network takes
    image.requires_grad_(True)
    value = loss(step_of(image, truth))
    value.backward()
    assert float(loss(step_of(truth, truth))) < 1e-12
    assert float(value.detach()) == pytest.approx(random_alex(image.detach().numpy(), truth.numpy()), rel=1e-12)
    tiny = 1e-6
    with torch.no_grad():
        change = float(loss(step_of(image + tiny * along, truth)) - loss(step_of(image - tiny * along, truth))) / (2 * tiny)
    assert float((image.grad * along).sum()) == pytest.approx(change, rel=1e-5)


def test_images_are_reduced_and_batches_averaged(monkeypatch) -> None:
    seen = []

    def square(image: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        seen.append(image.shape)
        return (image - truth).square().mean()

    monkeypatch.setattr(perceptual, "network_here", lambda name: SimpleNamespace(loss=square))
    step = step_of(torch.full((256, 512, 3), 0.75), torch.full((256, 512, 3), 0.25))
    step.renders.append(SimpleNamespace(color=torch.zeros(256, 512, 3)))
    step.samples.append(SimpleNamespace(image=torch.zeros(256, 512, 3)))
    assert float(Perceptual(size=0.25)(step)) == pytest.approx(0.125)
    assert seen == [(64, 128, 3), (64, 128, 3)]


def test_without_weights_it_is_nothing_and_said_once(monkeypatch, capsys) -> None:
    step = step_of(torch.rand(64, 64, 3), torch.rand(64, 64, 3))
    monkeypatch.setattr(perceptual, "lpips_here", lambda name: (None, "the weights lpips-alex are not here"))
    with notices.job():
        assert float(Perceptual()(step)) == 0.0 == float(Perceptual()(step))
        assert notices.fallbacks() == ["the recipe's LPIPS term is left out: the weights lpips-alex are not here"]
