"""Degenerate input, determinism, threads and memory of the compiled rasterizer."""

import gc
import math
import os
import threading
from dataclasses import replace

import pytest
import torch

from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.render.api import RasterOptions, rasterize
from fourfold.render.backends import choose
from render_truth import loss, problem, relative

BACKENDS = ("auto", "reference")
NAN, INF = float("nan"), float("inf")
ALL = torch.ones((), dtype=torch.bool)


def everything(p, options=RasterOptions(), backend="auto"):
    """All images and gradients of one forward and backward pass, by name."""
    p = p.to(torch.float32)
    render = p.render(backend, options)
    loss(render, ALL, render.alpha).backward()
    images = {k: getattr(render, k) for k in ("color", "alpha", "depth", "channels", "top") if getattr(render, k) is not None}
    screen = {k: getattr(render.screen, k) for k in ("radius", "gradient", "absolute_gradient")}
    return {k: v.detach() for k, v in (images | screen | {f"d {k}": v for k, v in p.gradients().items()}).items()}


@pytest.fixture
def threads():
    """A function that sets the kernel's threads; the old number comes back."""
    cpu = pytest.importorskip("fourfold.render.cpu")
    if not cpu.available():
        pytest.skip("no compiled kernel here")
    before = cpu.get_threads()
    yield cpu.set_threads
    cpu.set_threads(before)


@pytest.mark.parametrize("options", [RasterOptions(), RasterOptions(antialias=True), RasterOptions(depth="median", top_contributor=True)])
def test_bit_identical_for_any_number_of_threads(each_isa, threads, options):
    p = problem(20_000 if options == RasterOptions() else 700, channels=3, width=150, height=91, seed=2, size=-4.0, sh=3)
    threads(1)
    first = everything(p, options)
    for count in (1, 2, 3, 7):
        threads(count)
        for name, value in everything(p, options).items():
            assert torch.equal(value, first[name]), (count, name)


def test_many_python_threads_at_once(threads):
    threads(2)
    problems = [problem(300, seed=s, width=40 + s, height=30) for s in range(4)]
    expected = [everything(p) for p in problems]
    found: list = [None] * 4

    def work(i: int) -> None:
        for _ in range(5):
            found[i] = everything(problems[i])

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    [w.start() for w in workers]
    [w.join() for w in workers]
    for one, other in zip(found, expected, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_can_draw(threads):
    threads(2)
    expected = everything(problem(50))["color"]
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.equal(everything(problem(50))["color"], expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


BAD_VALUES = {
    "means": (NAN, INF, 1e30),
    "quat_wxyz": (0.0, NAN),
    "log_scale": (NAN, INF, -INF, 60.0),
    "opacity_logit": (NAN, -INF, -200.0),
    "visibility": (0.0, NAN, -1.0),
    "color": (NAN, INF),
    "channels": (NAN,),
    "sh_rest": (INF,),
}
BAD = [(name, value) for name, values in BAD_VALUES.items() for value in values]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_gaussian_is_skipped_and_poisons_nothing(backend, name, value):
    good = problem(30, seed=4, sh=3, channels=2, behind=0.0)
    bad = problem(30, seed=4, sh=3, channels=2, behind=0.0).to(torch.float32)
    keep = torch.arange(30) != 7
    good.leaves |= {k: v[keep] for k, v in good.leaves.items() if v is not None and k not in ("background", "world_to_camera")}
    good = good.to(torch.float32)
    with torch.no_grad():
        bad.leaves[name][7] = value
    images = [good.render(backend), bad.render(backend)]
    for render in images:
        loss(render, ALL, render.alpha).backward()
    assert torch.equal(images[0].color, images[1].color)
    assert images[1].screen.radius[7] == 0
    for leaf, gradient in bad.gradients().items():
        expected = good.gradients()[leaf]
        if leaf in ("background", "world_to_camera"):
            assert relative(gradient, expected) < 1e-6
        else:
            assert relative(gradient[keep], expected) < 1e-6
            assert (gradient[7] == 0).all(), leaf


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [-200.0, -30.0, 5.0, 9.0])
def test_vanishing_and_huge_scales_stay_finite(backend, value):
    p = problem(20, seed=6, behind=0.0).to(torch.float32)
    with torch.no_grad():
        p.leaves["log_scale"][3] = value
    render = p.render(backend)
    loss(render, ALL, render.alpha).backward()
    assert render.color.isfinite().all()
    assert all(g.isfinite().all() for g in p.gradients().values())


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_gaussian_on_the_camera_centre_is_skipped(backend):
    p = problem(10, seed=6).to(torch.float32)
    pose = p.leaves["world_to_camera"].detach()
    with torch.no_grad():
        p.leaves["means"][4] = -pose[:3, :3].T @ pose[:3, 3]
    render = p.render(backend)
    loss(render, ALL, render.alpha).backward()
    assert render.screen.radius[4] == 0
    assert all(g.isfinite().all() for g in p.gradients().values())
    assert (p.gradients()["means"][4] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("channels", [None, 0, 3])
def test_no_gaussians_give_the_background(backend, channels):
    empty = Gaussians(torch.zeros(0, 3, requires_grad=True), torch.zeros(0, 4), torch.zeros(0, 3), torch.zeros(0), torch.zeros(0, 3))
    camera = Camera(torch.tensor([[20.0, 0, 8], [0, 20, 6], [0, 0, 1]]), torch.eye(4), 17, 13)
    extra = None if channels is None else torch.zeros(0, channels)
    background = torch.tensor([0.1, 0.5, 0.9])
    render = rasterize(empty, camera, channels=extra, background=background, backend=backend, options=RasterOptions(top_contributor=True))
    render.color.sum().backward()
    assert torch.equal(render.color, background.expand(13, 17, 3))
    assert (render.alpha == 0).all()
    assert (render.depth == 0).all()
    assert (render.top == -1).all()
    assert render.screen.radius.shape == (0,)
    assert (render.channels is None) == (channels is None)
    assert channels is None or render.channels.shape == (13, 17, channels)


def test_strided_and_half_precision_inputs():
    p = problem(60, seed=3, channels=4).to(torch.float32)
    expected = p.render("auto")
    strided = {k: None if v is None else (v.detach().t().contiguous().t() if v.ndim == 2 else v.detach()) for k, v in p.leaves.items()}
    assert torch.equal(replace(p, leaves=strided).render("auto").color, expected.color)
    half = replace(p, leaves={k: None if v is None else v.detach().to(torch.bfloat16).requires_grad_() for k, v in p.leaves.items()})
    render = half.render("auto")
    render.color.sum().backward()
    assert render.color.dtype == torch.bfloat16
    assert half.leaves["means"].grad.dtype == torch.bfloat16


def test_float64_is_computed_in_float64():
    p = problem(10, seed=1).to(torch.float64)
    for backend in ("auto", "cpu"):
        assert choose(backend, p.leaves["means"]).__name__ == "rasterize_reference"
    assert p.render("auto").color.dtype == torch.float64


def test_two_losses_on_one_rendering_add_up():
    p = problem(50, seed=3).to(torch.float32)
    both, parts = p.render("auto"), p.render("auto")
    (both.color.sum() + both.alpha.square().sum()).backward()
    whole = p.gradients()["means"].clone()
    p.leaves["means"].grad = None
    parts.color.sum().backward(retain_graph=True)
    parts.alpha.square().sum().backward()
    assert relative(p.gradients()["means"], whole) < 1e-6
    assert relative(parts.screen.gradient, both.screen.gradient) < 1e-6


def test_memory_returns_when_backward_never_runs(threads):
    resource = pytest.importorskip("resource")
    p = problem(5000, seed=3, width=400, height=300, size=-3.0).to(torch.float32)
    p.render("auto")
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(30):
        p.render("auto")
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 40, "MiB grown; one frame holds about 5"


def test_finite_differences_of_the_reference():
    p = problem(6, channels=1, width=9, height=7, seed=12, size=-1.2, sh=3, behind=0.0).to(torch.float64)
    render = p.render("reference")
    loss(render, ALL, render.alpha).backward()
    opacity, step = render.alpha.detach(), 1e-6
    generator = torch.Generator().manual_seed(3)
    for name, gradient in p.gradients().items():
        leaf = p.leaves[name].detach()
        direction = torch.randn(leaf.shape, generator=generator, dtype=torch.float64)
        sides = []
        for sign in (1, -1):
            moved = replace(p, leaves=p.leaves | {name: leaf + sign * step * direction})
            sides.append(float(loss(moved.render("reference"), ALL, opacity).detach()))
        slope, exact = (sides[0] - sides[1]) / (2 * step), float((gradient * direction).sum())
        assert math.isclose(slope, exact, rel_tol=2e-6, abs_tol=1e-7), name
