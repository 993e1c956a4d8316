"""Choosing a backend, its errors and fallbacks, gsplat, and the benchmark's shape."""

import json

import numpy as np
import pytest
import torch

from fourfold import notices
from fourfold.errors import FourfoldError
from fourfold.evaluation import bench_rasterizer
from fourfold.render import cuda, triton_backend
from fourfold.render.api import RasterOptions
from fourfold.render.backends import choose, fast_on
from fourfold.training import trainer
from render_truth import brute_force, loss, problem, relative


def test_errors_say_got_and_expected():
    p = problem(5).to(torch.float32)

    def message(**changes) -> str:
        with pytest.raises(FourfoldError) as caught:
            type(p)(p.leaves | changes, p.K, p.width, p.height).render("auto")
        return str(caught.value)

    assert message(channels=torch.zeros(4, 2)) == "rasterize got channels of shape (4, 2), expected (5, C) with C at most 64"
    assert message(channels=torch.zeros(5, 65)) == "rasterize got channels of shape (5, 65), expected (5, C) with C at most 64"
    assert message(background=torch.zeros(1, 3)) == "rasterize got a background of shape (1, 3), expected (3,)"
    assert message(sh_rest=torch.zeros(5, 4, 3)) == "rasterize got sh_rest of shape (5, 4, 3), expected (5, K, 3) with K one of (3, 8, 15)"
    with pytest.raises(FourfoldError, match="backend 'fast', expected auto, cpu, triton, cuda or reference"):
        choose("fast", torch.zeros(1))
    with pytest.raises(FourfoldError, match="depth mode 'mean'"):
        p.render("auto", RasterOptions(depth="mean"))


def test_without_a_kernel_the_reference_serves_and_says_so_once(monkeypatch, capsys):
    monkeypatch.setenv("FOURFOLD_ISA", "reference")
    monkeypatch.setattr(notices, "_outside", notices.Notices())
    p = problem(5).to(torch.float32)
    assert torch.equal(p.render("auto").color, p.render("reference").color)
    p.render("auto")
    assert capsys.readouterr().err.count("no compiled CPU kernel") == 1
    assert len(notices.fallbacks()) == 1
    with pytest.raises(FourfoldError, match="has no compiled kernel"):
        p.render("cpu")


def test_cuda_without_cuda_is_refused_in_one_sentence():
    with pytest.raises(FourfoldError, match="backend 'cuda' got tensors on cpu"):
        problem(5).to(torch.float32).render("cuda")


def test_a_gpu_without_a_rasterizer_is_not_chosen(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(notices, "_outside", notices.Notices())
    monkeypatch.setattr(triton_backend, "missing", lambda: "Triton is not installed")
    monkeypatch.setattr(cuda, "_gsplat", lambda: (None, "nor is gsplat"))
    assert trainer.choose_device("auto") == torch.device("cpu")
    assert "no rasterizer for it (Triton is not installed and nor is gsplat)" in notices.fallbacks()[0]
    monkeypatch.setattr(triton_backend, "missing", lambda: "")
    assert trainer.choose_device("auto") == torch.device("cuda")
    assert fast_on(torch.device("cuda")) == (triton_backend.rasterize_triton, "")
    monkeypatch.setattr(cuda, "_gsplat", lambda: (torch, ""))
    assert fast_on(torch.device("cuda")) == (cuda.rasterize_cuda, "")
    assert fast_on(torch.device("meta")) == (None, "no rasterizer of fourfold draws on meta")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("antialias", [False, True])
def test_gsplat_agrees(antialias):
    pytest.importorskip("gsplat")
    p = problem(200, channels=5, width=70, height=50, seed=3)
    options = RasterOptions(antialias=antialias)
    exact = p.to(torch.float64)
    truth, fast = brute_force(exact, options), p.to(torch.float32)
    moved = type(p)({k: None if v is None else v.detach().cuda().requires_grad_() for k, v in fast.leaves.items()}, p.K.float().cuda(), 70, 50)
    render = moved.render("cuda", options)
    clear = ~truth.ambiguous
    for name in ("color", "alpha", "depth", "channels"):
        assert relative(getattr(render, name).cpu()[clear], getattr(truth, name)[clear]) < 1e-4, name
    loss(truth, clear, truth.alpha).backward()
    cotangents = torch.Generator().manual_seed(0)
    total = torch.zeros((), device="cuda")
    for image in (render.color, render.alpha, render.depth, render.channels):
        weight = torch.randn(image.shape, generator=cotangents, dtype=torch.float64).float() * (clear if image.ndim == 2 else clear[..., None])
        total = total + (image * (weight * truth.alpha.detach().float() if image is render.depth else weight).cuda()).sum()
    total.backward()
    for name, gradient in exact.gradients().items():
        assert relative(moved.leaves[name].grad.cpu(), gradient) < 1e-3, name
    assert relative(render.screen.gradient.cpu(), truth.centers.grad) < 1e-3
    assert (render.screen.absolute_gradient.cpu() >= render.screen.gradient.cpu().abs() - 1e-4).all()


def test_benchmark_rows_and_exported_scene(tmp_path, monkeypatch):
    small = bench_rasterizer.SceneSpec("synth", 200, 32, 24, 5)
    result = bench_rasterizer.bench(threads=(1,), repeats=1, scenes=(small,))
    keys = {"scene", "backend", "threads", "forward_ms", "backward_ms", "total_ms", "ratio_to_reference", "ns_per_pair"}
    assert all(set(row) == keys for row in json.loads(json.dumps(result))["scenes"])
    assert result["scenes"][0]["backend"] == "reference"
    assert result["scenes"][0]["ratio_to_reference"] == 1
    monkeypatch.setattr(bench_rasterizer, "SCENES", (small,))
    (path,) = bench_rasterizer.export_scenes(tmp_path)
    with np.load(path, allow_pickle=False) as data:
        assert data["means"].shape == (200, 3)
        assert data["channels"].shape == (200, 2)
        assert int(data["width"]) == 32


def test_benchmark_skips_missing_data_with_a_note(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FOURFOLD_DATA", str(tmp_path))
    monkeypatch.setattr(notices, "_outside", notices.Notices())
    assert bench_rasterizer.build(bench_rasterizer.SCENES[0]) is None
    assert "test_garden.npz is missing" in capsys.readouterr().err
