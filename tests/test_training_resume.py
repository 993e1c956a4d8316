"""Training on a tiny scene: a killed run resumes bit for bit, frozen tensors stay, bad steps are skipped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.density.capped import CappedGrowth
from fourfold.errors import FourfoldError
from fourfold.losses.base import Step
from fourfold.losses.photometric import Photometric
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality, Rate, Recipe, Stage, Term
from fourfold.scene.motion.linear import Linear
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import DYNAMIC, STATIC, Layer, Scene
from fourfold.training.loop import StepReport
from fourfold.training.metrics_log import read_metrics
from fourfold.training.samplers import Epochs
from fourfold.training.trainer import TrainConfig, train

W, H, T = 24, 16, 4


def make_capture(root: Path) -> Capture:
    root.mkdir(parents=True, exist_ok=True)
    frames = np.random.default_rng(0).integers(0, 255, (T, H, W, 3), dtype=np.uint8)
    np.save(root / "frames_000.npy", frames)
    K = np.array([[20.0, 0, W / 2], [0, 20.0, H / 2], [0, 0, 1]])
    pose = np.tile(np.eye(4), (1, T, 1, 1))
    pose[0, :, 0, 3] = np.linspace(0, 0.3, T)
    flags = np.ones((1, T), bool)
    return Capture(root, np.tile(K, (1, T, 1, 1)), pose, np.arange(T) / 10, np.array([[W, H]]), flags, flags, ~flags, "given", False, "tiny", ("v0",))


@dataclass(frozen=True)
class TwoLayers:
    """A static and a linear layer of random Gaussians."""

    count: int = 40

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        def tensor(*shape: int) -> Tensor:
            return torch.from_numpy(random.normal(size=shape).astype(np.float32))

        layers = []
        for name, role in (("static", STATIC), ("free", DYNAMIC), ("frozen", STATIC)):
            n = self.count
            splats = {"means": tensor(n, 3) * 0.6 + torch.tensor([0, 0, 3.0]), "quat_wxyz": tensor(n, 4), "log_scale": 0.2 * tensor(n, 3) - 2.0}
            splats |= {"opacity_logit": tensor(n), "color_logit": tensor(n, 3)}
            if name == "free":
                splats |= {"velocity": 0.1 * tensor(n, 3), "time_center": torch.full((n,), 0.15), "log_duration": torch.full((n,), -1.0)}
            layers.append(Layer(name, role, Linear() if name == "free" else Static(), splats))
        return Scene(layers, (0.0, 0.3))


@dataclass(frozen=True)
class BadAt:
    """Not a number at one step."""

    step: int

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        return {}

    def __call__(self, step: Step) -> Tensor:
        return step.renders[0].alpha.mean() * (float("nan") if step.index == self.step else 0.0)


RATES = {
    f"{layer}.{name}": Rate(0.02, final=0.5)
    for layer in ("static", "free")
    for name in ("means", "quat_wxyz", "log_scale", "opacity_logit", "color_logit")
}


def make_recipe(*extra: Term) -> Recipe:
    terms = (Term("rgb", Photometric(), 1.0), *extra)
    first = Stage("first", 30, terms, RATES, Epochs(2), layers=("static", "frozen"), resolution=((0.0, 2), (0.5, 1)))
    second = Stage("second", 30, terms, RATES | {"free.*": Rate(0.01)}, Epochs(1), density={"static": CappedGrowth(60, every=7)})
    return Recipe("tiny", "", "", (), TwoLayers(), (first, second))


def run(out: Path, kill_at: tuple[int, int] | None = None, device: str = "cpu") -> Scene:
    def progress(report: StepReport) -> None:
        if (report.number, report.step) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    return train(
        make_recipe(), None, make_capture(out / "capture"), Priors(), out, TrainConfig(seed=3, device=device, checkpoint_every=8, progress=progress)
    )


def losses(out: Path) -> list[tuple[int, int, dict[str, float]]]:
    return [(line["stage"], line["step"], line["losses"]) for line in read_metrics(out / "metrics.jsonl")]


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_any_step_and_resumed_gives_the_same_bits(tmp_path: Path, seed: int) -> None:
    whole = run(tmp_path / "whole")
    random = np.random.default_rng(seed)
    kill = (int(random.integers(2)), int(random.integers(1, 30)))
    out = tmp_path / "killed"
    lines = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})",
        "from pathlib import Path",
        "from test_training_resume import run",
        f"run(Path({str(out)!r}), {kill})",
    )
    code = "\n".join(lines)
    paths = os.pathsep.join([str(Path(__file__).parents[1] / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert losses(out)[-1][:2] == kill, "the metrics must reach the step of the kill"
    resumed = run(out)
    assert losses(out) == losses(tmp_path / "whole")
    for a, b in zip(whole.layers, resumed.layers, strict=True):
        assert len(a) == len(b) and all(torch.equal(a.splats[k], b.splats[k]) for k in a.splats)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    checkpoints = sorted((tmp_path / "whole" / "checkpoints").glob("*.safetensors"))
    assert len(checkpoints) == 2
    checkpoints[-1].write_bytes(checkpoints[-1].read_bytes()[:200])
    again = run(tmp_path / "whole")
    assert all(torch.equal(a.splats["means"], b.splats["means"]) for a, b in zip(whole.layers, again.layers, strict=True))
    assert losses(tmp_path / "whole")[-1][:2] == (1, 29)


def test_frozen_tensors_stay_bit_identical_and_the_rest_moves(tmp_path: Path) -> None:
    before = TwoLayers()(make_capture(tmp_path / "capture"), Priors(), Quality(1, 1, 1), np.random.default_rng(0))
    recipe = replace(make_recipe(), stages=(make_recipe().stages[1],))
    kept = {k: v.clone() for k, v in before.layer("frozen").splats.items()}
    after = train(recipe, before, make_capture(tmp_path / "capture"), Priors(), tmp_path, TrainConfig(device="cpu"))
    assert all(torch.equal(kept[k], after.layer("frozen").splats[k]) for k in kept)
    assert not torch.equal(before.layer("free").splats["velocity"], after.layer("free").splats["velocity"])
    assert len(after.layer("static")) > len(before.layer("static")), "density control had its say"
    assert losses(tmp_path)[-1][2]["rgb"] < losses(tmp_path)[0][2]["rgb"]


def test_a_step_that_is_not_finite_is_skipped_counted_and_never_written(tmp_path: Path) -> None:
    recipe = make_recipe(Term("bad", BadAt(5), 1.0))
    scene = train(recipe, None, make_capture(tmp_path / "capture"), Priors(), tmp_path, TrainConfig(device="cpu"))
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [(line["stage"], line["step"]) for line in lines if line["skipped"]] == [(0, 5), (1, 5)]
    assert all(torch.isfinite(v).all() for layer in scene.layers for v in layer.splats.values())
    assert lines[5]["losses"]["bad"] is None
    json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[5], parse_constant=lambda text: pytest.fail(f"{text} in the metrics"))


@dataclass(frozen=True)
class Fence:
    """Pushes the first layer away, and is not finite once a position is more than `reach` from where it was."""

    start: Tensor
    reach: float

    def channels(self, step: Step, item: int) -> dict[str, Tensor]:
        return {}

    def __call__(self, step: Step) -> Tensor:
        means = step.scene.layers[0].splats["means"]
        return means.sum() * (1.0 if bool(((means - self.start).abs() <= self.reach).all()) else float("nan"))


def _fenced(root: Path, reach: float) -> tuple[Recipe, Scene]:
    """A stage of nine steps of 0.02 in one direction."""
    start = TwoLayers()(make_capture(root / "capture"), Priors(), Quality(1, 1, 1), np.random.default_rng(0))
    fence = Term("fence", Fence(start.layers[0].splats["means"].clone(), reach), 1.0)
    stage = replace(make_recipe().stages[0], steps=9, terms=(fence,), rates={"static.means": Rate(0.02)}, density={})
    return replace(make_recipe(), stages=(stage,)), start


def test_training_that_does_not_recover_goes_back_and_makes_smaller_steps(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe, start = _fenced(tmp_path, 0.11)
    after = train(recipe, start, make_capture(tmp_path / "capture"), Priors(), tmp_path, TrainConfig(device="cpu", patience=2))
    name = recipe.stages[0].name
    said = (
        f"note: stage {name}, step 8: 2 steps in a row were not finite in the loss fence; training went back to stage 1, step 0, and continues at 0.5"
    )
    assert capfd.readouterr().err.startswith(said)
    moved = (after.layers[0].splats["means"] - start.layers[0].splats["means"]).abs().max()
    assert float(moved) == pytest.approx(9 * 0.01, rel=1e-3), "nine steps of half the rate"


def test_a_loss_that_is_never_finite_ends_in_a_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe, start = _fenced(tmp_path, -1.0)
    with pytest.raises(FourfoldError, match=r"cannot go on \(stage .*: 5 steps in a row were not finite in the loss fence\)"):
        train(recipe, start, make_capture(tmp_path / "capture"), Priors(), tmp_path, TrainConfig(device="cpu", patience=5))
    assert capfd.readouterr().err.count("went back") == 3


def test_a_time_budget_shortens_the_stages_and_is_recorded(tmp_path: Path) -> None:
    recipe = replace(make_recipe(), stages=tuple(replace(stage, steps=100_000) for stage in make_recipe().stages))
    train(recipe, None, make_capture(tmp_path / "capture"), Priors(), tmp_path, TrainConfig(device="cpu", time_budget=1.0))
    counts = [sum(line["stage"] == stage for line in read_metrics(tmp_path / "metrics.jsonl")) for stage in (0, 1)]
    assert all(10 <= count < 5000 for count in counts)


def test_other_settings_do_not_resume_from_old_checkpoints(tmp_path: Path) -> None:
    run(tmp_path)
    other = train(make_recipe(), None, make_capture(tmp_path / "capture"), Priors(), tmp_path, TrainConfig(seed=4, device="cpu"))
    same = train(make_recipe(), None, make_capture(tmp_path / "capture"), Priors(), tmp_path / "fresh", TrainConfig(seed=4, device="cpu"))
    assert torch.equal(other.layers[0].splats["means"], same.layers[0].splats["means"])


def test_images_without_a_known_camera_are_left_out(tmp_path: Path) -> None:
    capture = make_capture(tmp_path / "capture")
    poses = capture.world_to_camera.copy()
    poses[0, 2] = np.nan
    unknown = replace(capture, world_to_camera=poses)
    scene = train(make_recipe(), None, unknown, Priors(), tmp_path, TrainConfig(device="cpu"))
    assert all(torch.isfinite(layer.splats["means"]).all() for layer in scene.layers)
    with pytest.raises(FourfoldError, match="no training image with a known camera"):
        train(make_recipe(), None, replace(capture, world_to_camera=poses * np.nan), Priors(), tmp_path, TrainConfig(device="cpu"))
