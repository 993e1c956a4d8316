"""The package as a library: arrays where tensors are meant, gradients of K, jobs side by side, settings that are wrong."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import fourfold
from fourfold.errors import FourfoldError
from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.notices import fallback, fallbacks, job
from fourfold.options import Options, options_of
from render_truth import problem
from scene_example import example


def _scene(dtype: torch.dtype = torch.float32, sh: int = 0) -> tuple[Gaussians, Camera]:
    p = problem(40, channels=0, width=24, height=16, seed=3, size=-1.5, behind=0.0, sh=sh).to(dtype)
    x = p.leaves
    gaussians = Gaussians(x["means"], x["quat_wxyz"], x["log_scale"], x["opacity_logit"], x["color"], x["sh_rest"], x["visibility"])
    return gaussians, Camera(p.K, x["world_to_camera"], p.width, p.height)


def test_arrays_and_tuples_where_tensors_are_meant() -> None:
    gaussians, camera = _scene()
    ground = (0.2, 0.4, 0.6)
    expected = fourfold.rasterize(gaussians, camera, background=torch.tensor(ground)).color.detach()
    names = ("means", "quat_wxyz", "log_scale", "opacity_logit", "color", "sh_rest", "visibility")
    arrays = [None if (value := getattr(gaussians, name)) is None else value.detach().numpy() for name in names]
    K, pose = camera.K.numpy().astype(np.float64), camera.world_to_camera.detach().numpy().tolist()
    given = Camera(K, pose, camera.width, camera.height)  # type: ignore[arg-type]
    for behind in (ground, list(ground), np.array(ground)):
        got = fourfold.rasterize(Gaussians(*arrays), given, background=behind).color  # type: ignore[arg-type]
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, expected, atol=2e-6, rtol=0)
    with pytest.raises(FourfoldError, match=r"background of shape \(2,\)"):
        fourfold.rasterize(gaussians, camera, background=(0.1, 0.2))
    with pytest.raises(FourfoldError, match="is no array of numbers"):
        fourfold.rasterize(gaussians, camera, background="white")  # type: ignore[arg-type]


@pytest.mark.parametrize("time", [float("nan"), float("inf"), "x", None, [0.1, 0.2]])
def test_times_that_are_none(time: object) -> None:
    with pytest.raises(FourfoldError, match="number of seconds"):
        example().at(time)  # type: ignore[arg-type]


def test_times_of_any_kind_of_number() -> None:
    scene = example()
    expected = scene.at(0.25).means
    for time in (np.float32(0.25), np.array(0.25), torch.tensor(0.25)):
        torch.testing.assert_close(scene.at(time).means, expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("depth", [False, True])
def test_the_gradient_of_K_is_that_of_finite_differences(depth: bool) -> None:
    """Of the compiled kernel against central differences of the float64 reference."""
    exact, exact_camera = _scene(torch.float64)
    weights = torch.rand(16, 24, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def loss(gaussians: Gaussians, camera: Camera, backend: str) -> torch.Tensor:
        render = fourfold.rasterize(gaussians, camera, backend=backend)  # type: ignore[arg-type]
        return (render.color * weights.to(render.color.dtype)).sum() + (render.depth.sum() if depth else 0.0)

    gaussians, camera = _scene()
    K = camera.K.clone().requires_grad_()
    loss(gaussians, Camera(K, camera.world_to_camera, camera.width, camera.height), "auto").backward()
    assert K.grad is not None
    for row, column in ((0, 0), (1, 1), (0, 2), (1, 2)):
        step, ends = 1e-4, []
        for sign in (1, -1):
            moved = exact_camera.K.clone()
            moved[row, column] += sign * step
            ends.append(float(loss(exact, Camera(moved, exact_camera.world_to_camera, 24, 16), "reference").detach()))
        true = (ends[0] - ends[1]) / (2 * step)
        # A step may carry a pixel over the kernel's cut at alpha = 1/255: a share of 2 % is allowed for that.
        assert float(K.grad[row, column]) == pytest.approx(true, rel=0.02, abs=1e-3)


def test_a_gradient_of_K_that_is_not_known_is_an_error() -> None:
    gaussians, camera = _scene(sh=3)
    wanted = Camera(camera.K.clone().requires_grad_(), camera.world_to_camera, camera.width, camera.height)
    with pytest.raises(FourfoldError, match="gradients of K"):
        fourfold.rasterize(gaussians, wanted)
    fourfold.rasterize(gaussians, wanted, backend="reference").color.sum().backward()
    assert wanted.K.grad is not None and float(wanted.K.grad.abs().sum()) > 0


def test_double_precision_is_told() -> None:
    with job():
        gaussians, camera = _scene(torch.float64)
        assert fourfold.rasterize(gaussians, camera).color.dtype == torch.float64
        assert any("float64" in sentence for sentence in fallbacks())


def test_jobs_in_one_process_have_their_own_notices(capsys: pytest.CaptureFixture[str]) -> None:
    with job():
        fallback("no good eyes")
        fallback("no good eyes")
        assert fallbacks() == ["no good eyes"]
    with job() as second:
        assert fallbacks() == []
        fallback("no good eyes")
        helper = threading.Thread(target=fallback, args=("said by a helper thread",))
        helper.start()
        helper.join()
        assert second.sentences == ["no good eyes", "said by a helper thread"]
    assert capsys.readouterr().err.count("no good eyes") == 2
    assert "no good eyes" not in fallbacks()


def test_jobs_at_the_same_time_do_not_mix() -> None:
    both, found = threading.Barrier(2), {}

    def work(name: str) -> None:
        with job():
            both.wait()
            fallback(f"from {name}")
            both.wait()
            found[name] = fallbacks()

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"a": ["from a"], "b": ["from b"]}


def test_settings_that_are_wrong_are_said(tmp_path: Path) -> None:
    with pytest.raises(FourfoldError, match="there is no option 'recipes': did you mean recipe"):
        fourfold.reconstruct("clip.mp4", tmp_path / "run", recipes="auto")
    with pytest.raises(FourfoldError, match="one object or keywords"):
        fourfold.reconstruct("clip.mp4", tmp_path / "run", options=Options(), seed=3)
    with pytest.raises(FourfoldError, match="time_budget got '10m': expected a number of seconds"):
        fourfold.reconstruct("clip.mp4", tmp_path / "run", time_budget="10m")
    with pytest.raises(FourfoldError, match="there is only one"):
        Options(offsets="0,1").capture_options([tmp_path / "a.mp4"])
    for seed in (-1, 1.5, "2", True):
        with pytest.raises(FourfoldError, match="expected a whole number of 0 or more"):
            options_of(None, {"seed": seed})
    assert options_of(None, {"offsets": (0, 0.35), "priors": tmp_path, "fps": 12}) == Options(offsets="0,0.35", priors=str(tmp_path), fps=12)
    assert not (tmp_path / "run").exists()


def test_a_run_by_its_name(tmp_path: Path) -> None:
    run = fourfold.Run(str(tmp_path))  # type: ignore[arg-type]
    assert run.root == tmp_path
    with pytest.raises(FourfoldError, match="holds no report"):
        _ = run.report
