"""Drawing through the CPU gives what the CPU kernel gives, gradients and screen statistics included, and is chosen for Apple's GPUs."""

from types import SimpleNamespace

import pytest
import torch

from fourfold.errors import FourfoldError
from fourfold.render import backends, cpu
from fourfold.training.trainer import choose_device
from render_truth import loss, problem

pytestmark = pytest.mark.skipif(not cpu.available(), reason="no compiled kernel here")
ALL = torch.ones((), dtype=torch.bool)


def drawn(p, monkeypatch, rasterizer):
    monkeypatch.setattr(backends, "fast_on", lambda device: (rasterizer, ""))
    render = p.render("auto")
    for _ in range(2):  # statistics of two passes add up
        loss(render, ALL, render.alpha).backward(retain_graph=True)
    return render


def test_images_gradients_and_statistics_are_those_of_the_kernel(monkeypatch):
    from fourfold.render.through_cpu import rasterize_through_cpu

    p, q = (problem(60, channels=4, width=40, height=30, seed=3, sh=8).to(torch.float32) for _ in range(2))
    there, here = drawn(p, monkeypatch, rasterize_through_cpu), drawn(q, monkeypatch, cpu.rasterize_cpu)
    for name in ("color", "alpha", "depth", "channels"):
        assert torch.equal(getattr(there, name), getattr(here, name)), name
    for name, gradient in q.gradients().items():
        assert torch.equal(p.gradients()[name], gradient), name
    for name in ("radius", "gradient", "absolute_gradient"):
        assert torch.equal(getattr(there.screen, name), getattr(here.screen, name)), name
    assert float(here.screen.gradient.abs().max()) > 0


def test_apple_gpus_are_drawn_for_on_the_cpu():
    from fourfold.render.through_cpu import rasterize_through_cpu

    like = SimpleNamespace(device=torch.device("mps"), dtype=torch.float32)
    assert backends.choose("auto", like) is rasterize_through_cpu


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is an Apple GPU here")
def test_an_apple_gpu_that_is_not_there_is_refused():
    with pytest.raises(FourfoldError, match=r"^this machine has no Apple GPU that torch can use: use --device cpu$"):
        choose_device("mps")
