"""The compiled rasterizer and the reference against the float64 brute force: images and every gradient."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fourfold.render.api import RasterOptions
from render_truth import Problem, brute_force, loss, problem, relative

TOLERANCE = 1e-5
EXACT = 1e-9  # float64 against float64
FLOOR = 1e-7  # rounding of a gradient that is zero, where the loss has cotangents of size 1

GENERAL = st.builds(
    problem,
    n=st.sampled_from((1, 2, 7, 60, 250)),
    channels=st.sampled_from((0, 1, 2, 4, 13, 37, 64)),
    width=st.integers(1, 50),
    height=st.integers(1, 40),
    seed=st.integers(0, 10**6),
    size=st.sampled_from((-5.0, -2.5, -1.5, -0.5)),
    spread=st.sampled_from((0.0, 0.6, 1.2)),
    sh=st.sampled_from((0, 3, 8, 15)),
    opacity=st.sampled_from((-3.0, 0.0, 4.0)),
    behind=st.sampled_from((0.0, 0.3, 1.0)),
    visibility=st.booleans(),
)


def compare(p: Problem, backend: str, dtype: torch.dtype, options: RasterOptions, tolerance: float) -> None:
    exact, fast = p.to(torch.float64), p.to(dtype)
    truth = brute_force(exact, options)
    render = fast.render(backend, options)
    clear = ~truth.ambiguous
    # The jumps at alpha = 1/255 and T = 1e-4 are part of the model: on them either side is right, but they must be few and small.
    assert clear.double().mean() > 0.8 or clear.numel() < 50
    value = max(1.0, *(float(v.detach().abs().max()) for v in (fast.leaves["color"], fast.leaves["channels"]) if v is not None and v.numel()))
    assert float((render.color - truth.color).detach().abs().max()) < 0.02 * value
    for name in ("color", "alpha", "depth", "channels"):
        expected = getattr(truth, name)
        if expected is not None:
            assert relative(getattr(render, name)[clear], expected[clear]) < tolerance, name
    loss(truth, clear, truth.alpha).backward()
    loss(render, clear, truth.alpha).backward()
    found, expected = fast.gradients(), exact.gradients()
    # A sphere's rotation has no gradient: what is left there is rounding of the terms that cancel, as large as those of log_scale.
    size = {name: float(g.norm()) for name, g in expected.items()}
    size["quat_wxyz"] = max(size["quat_wxyz"], size["log_scale"])
    for name, gradient in expected.items():
        error = float((found[name].double() - gradient).norm())
        assert error <= tolerance * size[name] + FLOOR, (name, error, size[name])
    of_centers = torch.zeros_like(truth.centers) if truth.centers.grad is None else truth.centers.grad
    assert float((render.screen.gradient.double() - of_centers).norm()) <= tolerance * float(of_centers.norm()) + FLOOR


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(p=GENERAL, antialias=st.booleans())
def test_compiled_kernel_is_exact(p, antialias):
    compare(p, "cpu", torch.float32, RasterOptions(antialias=antialias), TOLERANCE)


@settings(max_examples=12)
@given(p=GENERAL, antialias=st.booleans())
def test_reference_is_exact(p, antialias):
    compare(p, "reference", torch.float64, RasterOptions(antialias=antialias), EXACT)


@pytest.mark.parametrize("dilation", [0.0, 0.3, 2.0])
def test_every_instruction_set_is_exact(each_isa, dilation):
    compare(problem(120, channels=6, sh=8, seed=3), "auto", torch.float32, RasterOptions(dilation=dilation), 2 * TOLERANCE)


def test_many_gaussians_across_many_tiles():
    compare(problem(500, channels=5, width=131, height=67, seed=11, size=-3.0), "cpu", torch.float32, RasterOptions(), TOLERANCE)


def test_coincident_gaussians_blend_in_the_order_given():
    p = problem(6, channels=1, seed=5)
    p.leaves["means"] = p.leaves["means"][:1].expand(6, 3).clone() * 0 + torch.tensor([0.0, 0.1, 2.0], dtype=torch.float64)
    compare(p, "cpu", torch.float32, RasterOptions(), TOLERANCE)


def test_screen_statistics_against_explicit_pixel_gradients():
    p = problem(40, channels=2, seed=8)
    exact, fast = p.to(torch.float64), p.to(torch.float32)
    truth, render = brute_force(exact), fast.render("cpu")
    clear = ~truth.ambiguous
    per_pixel = torch.zeros(40, 2, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    cotangent = torch.randn(truth.color.shape, generator=generator, dtype=torch.float64) * clear[..., None]
    for y, x in torch.nonzero(clear).tolist():
        (gradient,) = torch.autograd.grad((truth.color[y, x] * cotangent[y, x]).sum(), truth.centers, retain_graph=True, allow_unused=True)
        per_pixel += gradient.abs()
    (render.color * cotangent.float()).sum().backward()
    assert relative(render.screen.absolute_gradient, per_pixel) < TOLERANCE
    drawn = render.screen.radius > 0
    assert relative(render.screen.radius[drawn], truth.radius[drawn]) < TOLERANCE
    assert drawn[truth.weights.flatten(1).amax(1) > 0].all()


def test_depth_modes_and_top_contributor_follow_the_weights():
    p = problem(80, channels=0, seed=9, size=-1.8)
    truth = brute_force(p.to(torch.float64))
    depth = p.leaves["means"] @ p.leaves["world_to_camera"][2, :3] + p.leaves["world_to_camera"][2, 3]
    order = torch.argsort(depth)
    weights, depths = truth.weights[order], depth[order]
    hit, index = weights > 0, torch.arange(80)[:, None, None]
    first = torch.where(hit, index, 80).amin(0)
    before = 1 - (weights.cumsum(0) - weights)
    median = torch.where(hit & (before > 0.5), index, -1).amax(0)
    nothing, clear = ~hit.any(0), ~truth.ambiguous & ((before - 0.5).abs().amin(0) > 1e-5)
    expected = {"first": depths[first.clamp(max=79)].masked_fill(nothing, 0), "median": depths[median.clamp(min=0)].masked_fill(nothing, 0)}
    top = torch.where(nothing, -1, order[weights.argmax(0)])
    for backend in ("cpu", "reference"):
        for mode, image in expected.items():
            render = p.to(torch.float32).render(backend, RasterOptions(depth=mode, top_contributor=True))
            assert relative(render.depth[clear], image[clear]) < TOLERANCE
            assert not render.depth.requires_grad
            assert render.top.dtype == torch.int32
            assert (render.top == top)[clear].all()
