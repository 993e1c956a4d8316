"""The Triton rasterizer in Triton's interpreter, against the float64 brute force and the compiled kernel."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

import interpreted_triton
from fourfold.errors import FourfoldError
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.render import triton_backend
from fourfold.render.api import RasterOptions
from fourfold.render.backends import choose
from pretended_gpu import RASTER_LAUNCHES, WRITES_NOTHING
from render_truth import brute_force, loss, problem, relative
from test_render_edges import ALL, BAD, everything
from test_render_truth import compare

pytestmark = [
    pytest.mark.skipif(triton_backend.missing() != "", reason=triton_backend.missing()),
    pytest.mark.skipif(not triton_backend.interpreted(), reason="Triton was told to compile"),
    pytest.mark.filterwarnings("ignore:(divide by zero|invalid value|overflow) encountered:RuntimeWarning"),  # in rows that are not drawn
]
TOLERANCE = 1e-5

GENERAL = st.builds(
    problem,
    n=st.sampled_from((1, 3, 40)),
    channels=st.sampled_from((0, 1, 4, 5, 9, 40)),
    width=st.integers(1, 33),
    height=st.integers(1, 25),
    seed=st.integers(0, 10**6),
    size=st.sampled_from((-5.0, -3.0, -1.5)),
    spread=st.sampled_from((0.0, 0.6, 2.0)),
    sh=st.sampled_from((0, 3, 15)),
    opacity=st.sampled_from((-3.0, 0.0, 4.0)),
    behind=st.sampled_from((0.0, 0.3, 1.0)),
    visibility=st.booleans(),
)


@pytest.fixture(autouse=True)
def fast_interpreter(monkeypatch):
    """Tiles of 16 pixels where a test does not say otherwise: a quarter of the programs."""
    interpreted_triton.hasten()
    monkeypatch.setattr(triton_backend, "TILE", 16)
    # one block for all Gaussians or many: the same kernels, and a padded row costs as much as a real one
    monkeypatch.setattr(triton_backend, "ROWS", 16)


@settings(max_examples=12)
@given(p=GENERAL, antialias=st.booleans())
def test_images_and_all_gradients_are_exact(p, antialias):
    compare(p, "triton", torch.float32, RasterOptions(antialias=antialias), TOLERANCE)


def test_small_tiles_and_many_gaussians(monkeypatch):
    monkeypatch.setattr(triton_backend, "TILE", 8)
    compare(problem(300, channels=2, width=37, height=21, seed=11, size=-4.5), "triton", torch.float32, RasterOptions(), TOLERANCE)


def test_agrees_with_the_compiled_kernel_on_the_screen_statistics():
    p = problem(60, channels=13, width=30, height=19, seed=8, size=-3.0, opacity=3.0)
    both = []
    for backend in ("triton", "cpu"):
        fast = p.to(torch.float32)
        render = fast.render(backend)
        loss(render, ALL, render.alpha).backward()
        both.append(render.screen)
    assert relative(both[0].absolute_gradient, both[1].absolute_gradient) < TOLERANCE
    assert relative(both[0].gradient, both[1].gradient) < TOLERANCE
    assert relative(both[0].radius, both[1].radius) < TOLERANCE


def test_bad_gaussians_are_skipped_and_poison_nothing():
    count, good = len(BAD), 12
    bad = problem(count + good, seed=4, sh=3, channels=2, width=20, height=13, behind=0.0, size=-2.5)
    keep = torch.arange(count + good) >= count
    alone = problem(count + good, seed=4, sh=3, channels=2, width=20, height=13, behind=0.0, size=-2.5)
    alone.leaves |= {k: v[keep] for k, v in alone.leaves.items() if v is not None and k not in ("background", "world_to_camera")}
    alone, bad = alone.to(torch.float32), bad.to(torch.float32)
    with torch.no_grad():
        for row, (name, value) in enumerate(BAD):
            bad.leaves[name][row] = value
    images = [p.render("triton") for p in (alone, bad)]
    for render in images:
        loss(render, ALL, render.alpha).backward()
    assert torch.equal(images[0].color, images[1].color)
    assert (images[1].screen.radius[:count] == 0).all()
    for leaf, gradient in bad.gradients().items():
        expected = alone.gradients()[leaf]
        if leaf in ("background", "world_to_camera"):
            assert relative(gradient, expected) < 1e-6, leaf
        else:
            assert relative(gradient[keep], expected) < 1e-6, leaf
            assert (gradient[~keep] == 0).all(), leaf


@pytest.mark.parametrize("value", [-200.0, 5.0, 9.0])
def test_vanishing_and_huge_scales_stay_finite(value):
    p = problem(8, seed=6, behind=0.0, width=16, height=12).to(torch.float32)
    with torch.no_grad():
        p.leaves["log_scale"][3] = value
        p.leaves["log_scale"][4, 0] = value  # a needle or a sheet
    render = p.render("triton")
    loss(render, ALL, render.alpha).backward()
    assert render.color.isfinite().all()
    assert all(g.isfinite().all() for g in p.gradients().values())


@pytest.mark.parametrize("channels", [None, 0, 3])
def test_no_gaussians_give_the_background(channels):
    empty = Gaussians(torch.zeros(0, 3, requires_grad=True), torch.zeros(0, 4), torch.zeros(0, 3), torch.zeros(0), torch.zeros(0, 3))
    camera = Camera(torch.tensor([[20.0, 0, 8], [0, 20, 6], [0, 0, 1]]), torch.eye(4), 17, 13)
    extra = None if channels is None else torch.zeros(0, channels)
    render = triton_backend.rasterize_triton(empty, camera, extra, torch.tensor([0.1, 0.5, 0.9]), RasterOptions(top_contributor=True))
    render.color.sum().backward()
    assert torch.equal(render.color, torch.tensor([0.1, 0.5, 0.9]).expand(13, 17, 3))
    assert (render.top == -1).all()
    assert channels is None or render.channels.shape == (13, 17, channels)


def test_none_in_sight_and_no_extra_columns():
    p = problem(5, channels=0, behind=1.0, width=9, height=7).to(torch.float32)
    p.leaves["channels"] = torch.zeros(5, 0, requires_grad=True)
    render = p.render("triton")
    loss(render, ALL, render.alpha).backward()
    assert render.channels.shape == (7, 9, 0)
    assert torch.equal(render.color, p.leaves["background"].expand(7, 9, 3))
    assert all((g == 0).all() for name, g in p.gradients().items() if name != "background")


def test_depth_modes_and_top_contributor_as_the_compiled_kernel():
    p = problem(40, channels=0, seed=9, size=-2.0, width=24, height=17)
    clear = ~brute_force(p.to(torch.float64)).ambiguous
    for mode in ("first", "median"):
        options = RasterOptions(depth=mode, top_contributor=True)
        one, other = (p.to(torch.float32).render(backend, options) for backend in ("triton", "cpu"))
        assert relative(one.depth[clear], other.depth[clear]) < TOLERANCE
        assert not one.depth.requires_grad
        assert one.top.dtype == torch.int32
        assert torch.equal(one.top[clear], other.top[clear])


def test_views_in_one_call_are_the_views_alone_bit_for_bit():
    problems = [problem(20, channels=2, seed=seed, width=20, height=11, size=-2.5).to(torch.float32) for seed in (1, 2, 3)]
    background = torch.tensor([0.2, 0.4, 0.6], requires_grad=True)
    cameras = [Camera(p.K, p.leaves["world_to_camera"], p.width, p.height) for p in problems]
    names = ("means", "quat_wxyz", "log_scale", "opacity_logit", "color", "sh_rest", "visibility")
    gaussians = [Gaussians(*(p.leaves[name] for name in names)) for p in problems]
    channels = [p.leaves["channels"] for p in problems]
    options = RasterOptions(top_contributor=True)
    alone = [triton_backend.rasterize_triton(g, c, e, background, options) for g, c, e in zip(gaussians, cameras, channels, strict=True)]
    together = triton_backend.rasterize_views(gaussians, cameras, channels, background, options)
    gradients = []
    for renders in (alone, together):
        for p in problems:
            for leaf in p.leaves.values():
                if leaf is not None:
                    leaf.grad = None
        sum(loss(render, ALL, render.alpha, seed) for seed, render in enumerate(renders)).backward()
        gradients.append([g for p in problems for name, g in p.gradients().items() if name != "background"])
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(getattr(one, k), getattr(other, k)) for k in ("color", "alpha", "depth", "channels", "top"))
        assert all(torch.equal(getattr(one.screen, k), getattr(other.screen, k)) for k in ("radius", "gradient", "absolute_gradient"))
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    with pytest.raises(FourfoldError, match="they must be equal"):
        triton_backend.rasterize_views(
            gaussians[:2], [cameras[0], Camera(cameras[1].K, cameras[1].world_to_camera, 8, 8)], channels[:2], None, options
        )


def test_the_same_bits_again_and_half_precision_inputs():
    p = problem(20, channels=4, seed=3, width=20, height=13, size=-2.5)
    first, again = everything(p, backend="triton"), everything(p, backend="triton")
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    half = p.to(torch.bfloat16)
    render = half.render("triton")
    render.color.sum().backward()
    assert render.color.dtype == torch.bfloat16
    assert half.leaves["means"].grad.dtype == torch.bfloat16


def test_gradient_of_the_focal_lengths_and_centre():
    p = problem(10, channels=0, seed=2, width=16, height=12, size=-2.5)
    found = []
    for backend, dtype in (("triton", torch.float32), ("reference", torch.float64)):
        q = p.to(dtype)
        q.K = q.K.requires_grad_()
        render = q.render(backend)
        (render.color.sum() + render.alpha.square().sum()).backward()
        found.append(q.K.grad[(0, 1, 0, 1), (0, 1, 2, 2)])
    assert relative(found[0], found[1]) < TOLERANCE


def test_tensors_of_the_cpu_are_refused_where_triton_compiles(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(FourfoldError, match="backend 'triton' got tensors on cpu: move them to a GPU"):
        choose("triton", torch.zeros(1))


class Launches(TorchDispatchMode):
    """Counts torch's operations that write memory, outside of the kernels' own launches."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += not function.is_view and function not in WRITES_NOTHING
        return function(*args, **(kwargs or {}))


def test_how_many_launches_an_image_takes(monkeypatch):
    kernels, launch = [], triton_backend._launch

    def told(kernel, *arguments, **constants):
        kernels.append(kernel)
        with _disable_current_modes():
            launch(kernel, *arguments, **constants)

    monkeypatch.setattr(triton_backend, "_launch", told)
    p = problem(6, channels=2, width=9, height=7).to(torch.float32)
    with Launches() as forward:
        render = p.render("triton")
    assert len(kernels) + forward.count <= RASTER_LAUNCHES[0]
    total = render.color.sum()
    kernels.clear()
    with Launches() as backward:
        torch.autograd.grad(total, [p.leaves[name] for name in ("means", "world_to_camera", "background")])
    assert len(kernels) + backward.count <= RASTER_LAUNCHES[1]
