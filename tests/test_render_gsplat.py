"""`render/cuda.py` over gsplat's own Python, whose CUDA calls are answered on the CPU; skipped where gsplat is not installed."""

import builtins
import gc
import importlib.util
import sys

import pytest
import torch

import gsplat_on_cpu
from fourfold.errors import FourfoldError
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.render import cuda
from fourfold.render.api import RasterOptions
from render_truth import loss, problem, relative
from test_render_edges import ALL

installed = pytest.mark.skipif(importlib.util.find_spec("gsplat") is None, reason="gsplat is not installed")
RENDERS = 1000


@pytest.fixture
def gsplat(monkeypatch):
    gsplat_on_cpu.install(monkeypatch)
    monkeypatch.setattr(cuda, "require_gsplat", lambda: sys.modules["gsplat"])


def drawn(p, options=RasterOptions()):
    x = p.leaves
    gaussians = Gaussians(x["means"], x["quat_wxyz"], x["log_scale"], x["opacity_logit"], x["color"], x["sh_rest"], x["visibility"])
    return cuda.rasterize_cuda(gaussians, Camera(p.K, x["world_to_camera"], p.width, p.height), x["channels"], x["background"], options)


@installed
@pytest.mark.parametrize("channels", [0, 2, 28, 29, 40, 64])
@pytest.mark.parametrize("antialias", [False, True])
def test_agrees_with_the_compiled_kernel(gsplat, channels, antialias):
    p = problem(60, channels=channels, seed=3, sh=3 if channels == 2 else 0)
    options = RasterOptions(antialias=antialias)
    fast, ours = p.to(torch.float32), p.to(torch.float32)
    one, other = drawn(fast, options), ours.render("cpu", options)
    for name in ("color", "alpha", "depth", *(["channels"] if channels else [])):
        assert relative(getattr(one, name), getattr(other, name)) < 1e-4, name
    for render in (one, other):
        loss(render, ALL, other.alpha).backward()
    for name, gradient in ours.gradients().items():
        assert relative(fast.gradients()[name], gradient) < 1e-4, name
    assert relative(one.screen.gradient, other.screen.gradient) < 1e-4
    assert relative(one.screen.absolute_gradient, other.screen.absolute_gradient) < 1e-4


@installed
def test_memory_is_flat_over_a_thousand_renders(gsplat):
    p = problem(40, channels=2, width=12, height=8, size=-4.0, behind=0.0)
    alive = []
    for number in range(RENDERS):
        fast = p.to(torch.float32)
        render = drawn(fast)
        (render.color.sum() + render.alpha.sum()).backward()
        assert render.screen.gradient is not None
        assert render.screen.absolute_gradient is not None
        del render, fast
        if number in (RENDERS // 2, RENDERS - 1):
            gc.collect()
            alive.append(sum(o.untyped_storage().nbytes() for o in gc.get_objects() if type(o) is torch.Tensor))
    assert alive[1] <= alive[0]


def test_a_failed_build_is_tried_once(monkeypatch, tmp_path):
    (tmp_path / "gsplat").mkdir()
    (tmp_path / "gsplat" / "__init__.py").write_text(
        "import builtins\nbuiltins.tried_builds += 1\nraise ImportError('gsplat_cuda.so: cannot open')\n"
    )
    monkeypatch.setattr(builtins, "tried_builds", 0, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "gsplat", raising=False)
    cuda._gsplat.cache_clear()
    try:
        for _ in range(3):
            with pytest.raises(FourfoldError, match=r"gsplat is installed but its CUDA part does not build or load .*gsplat_cuda"):
                cuda.require_gsplat()
        assert builtins.tried_builds == 1
    finally:
        cuda._gsplat.cache_clear()
