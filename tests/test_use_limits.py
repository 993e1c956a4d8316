"""Disk and memory that do not suffice are told before a stage, or met in it with the work kept; each with a limit that is pretended or set."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from fourfold import room
from fourfold.cli import main
from fourfold.errors import FourfoldError
from fourfold.losses.base import Step
from fourfold.notices import fallbacks, job
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Recipe, Term
from fourfold.scene.scene import Scene
from fourfold.training.metrics_log import read_metrics
from fourfold.training.room import eased
from fourfold.training.trainer import TrainConfig, train
from test_training_resume import H, W, make_capture, make_recipe

MB = 1_000_000


def test_room_on_the_disk_is_that_of_the_nearest_folder(tmp_path: Path) -> None:
    assert room.free_disk(tmp_path / "not" / "yet" / "there") == pytest.approx(room.free_disk(tmp_path), rel=0.01)


def test_a_file_system_without_a_size_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: SimpleNamespace(total=0, used=0, free=0))
    room.check_disk(tmp_path, 10**12, "a stage")


def test_free_memory_is_told_by_the_tightest_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    for answers, expected in (((3, None, 2), 2), ((None, 5, None), 5), ((None, None, None), None)):
        for name, answer in zip(("_of_machine", "_of_container", "_of_limit"), answers, strict=True):
            monkeypatch.setattr(room, name, lambda answer=answer: answer)
        assert room.free_memory() == expected


def test_a_limit_of_the_process_counts() -> None:
    code = """
import resource
from fourfold.room import free_memory
resource.setrlimit(resource.RLIMIT_AS, (3 * 10**8, 3 * 10**8))
print(free_memory())
"""
    free = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 10**7 < free < 3 * 10**8


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("shapes do not match"), False),
        (FourfoldError("this is out of memory in name only"), False),
    ],
)
def test_what_says_that_memory_was_refused(error: Exception, told: bool) -> None:
    assert room.out_of_memory(error) is told


def test_a_capture_that_will_not_fit_is_refused_before_a_frame_is_read(
    casual_capture: Path, hurry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(room, "free_disk", lambda path: 100_000)
    assert main(["prepare", str(casual_capture), "-o", str(tmp_path / "run"), "--quality", "draft"]) == 2
    assert f"reading 28 images needs about {2 * 14 * 96 * 64 * (3 + 1 + 4) / 1e6:.3g} MB on the disk of" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_prior_that_will_not_fit_is_refused_and_the_rest_stays(
    casual_capture: Path, hurry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["prepare", str(casual_capture), "-o", str(tmp_path / "run"), "--quality", "draft", "--only", "flow"]
    monkeypatch.setattr(room, "free_disk", lambda path: MB if "priors" in str(path) else 10**9)
    assert main(words) == 2
    said = capfd.readouterr().err
    assert f"estimating flow needs about {2 * 14 * 96 * 64 * 12 / 1e6:.3g} MB on the disk" in said and "what is finished stays" in said
    assert (tmp_path / "run" / "capture" / "frames_000.npy").exists()
    monkeypatch.undo()
    assert main(words) == 0


@dataclass(frozen=True)
class Hungry:
    """Takes `bytes` of memory for every image of the batch from step `begin` on, and gives them back."""

    bytes: int
    begin: int = 10

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        return {}

    def __call__(self, step: Step) -> Tensor:
        taken = torch.zeros(self.bytes * len(step.samples) if step.index >= self.begin else 1, dtype=torch.uint8)
        return step.renders[0].alpha.mean() * float(taken[0])


def hungry(out: Path, count: int, batch: bool = True) -> Scene:
    """A stage of 30 steps with two images each, and one that takes so many bytes."""
    recipe = make_recipe(Term("hungry", Hungry(count), 0.0))
    stage = recipe.stages[0] if batch else recipe.stages[1]
    config = TrainConfig(seed=3, device="cpu", checkpoint_every=4)
    return train(replace(recipe, stages=(stage,)), None, make_capture(out / "capture"), Priors(), out, config)


def test_a_step_that_memory_refuses_is_made_again_with_half_the_batch(tmp_path: Path) -> None:
    limit = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from types import SimpleNamespace
from fourfold.notices import fallbacks, job
from fourfold.room import free_memory
from test_use_limits import hungry
hungry(Path({str(tmp_path / "warm")!r}), 1)  # what is loaded by then is no longer counted
used = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + 900_000_000, used + 900_000_000))
with job():
    hungry(Path({str(tmp_path / "run")!r}), 600_000_000)
    print(fallbacks()[-1])
"""
    done = subprocess.run([sys.executable, "-c", limit], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    expected = "stage first, step 10: memory did not suffice; training went back to stage 1, step 8, and continues with half the images in a batch"
    assert done.stdout.strip() == expected
    assert [line["step"] for line in read_metrics(tmp_path / "run" / "metrics.jsonl")] == list(range(30))


def test_memory_that_does_not_suffice_twice_stops_with_the_work_kept(tmp_path: Path) -> None:
    with job():
        with pytest.raises(FourfoldError, match=r"stage first, step 10: memory did not suffice even with half the images in a batch\): free some"):
            hungry(tmp_path, 10**15)
        assert any("continues with half the images in a batch" in sentence for sentence in fallbacks())
    assert max(p.name for p in (tmp_path / "checkpoints").iterdir()) == "stage_00_step_000008.safetensors"


def test_one_image_a_batch_becomes_half_as_large(tmp_path: Path) -> None:
    with job():
        with pytest.raises(FourfoldError, match="even with images of half the size"):
            hungry(tmp_path, 10**15, batch=False)
        assert any("continues with images of half the size" in sentence for sentence in fallbacks())
    stage, _ = eased(make_recipe().stages[1], 1)
    assert stage.resolution == ((0.0, 2),) and stage.sampler == make_recipe().stages[1].sampler


def tiny(recipe: Recipe, out: Path) -> Scene:
    return train(recipe, None, make_capture(out / "capture"), Priors(), out, TrainConfig(seed=3, device="cpu", checkpoint_every=8))


def test_training_that_will_not_fit_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fourfold.training.room.free_memory", lambda: 10_000)
    with pytest.raises(FourfoldError, match=r"^training stage first with 120 Gaussians needs about .* kB of memory and 10 kB are free: free some"):
        tiny(make_recipe(), tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(room, "free_disk", lambda path: 1000)
    with pytest.raises(FourfoldError, match=r"^training stage first with 120 Gaussians needs about .* kB on the disk of .* and 1 kB are free"):
        tiny(make_recipe(), tmp_path)


def test_the_estimate_of_a_stage_is_told_by_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("fourfold.training.room.check_memory", lambda needed, what, free: asked.append(needed))
    tiny(make_recipe(), tmp_path)
    splats = 40 * (3 + 4 + 3 + 1 + 3)
    assert asked[0] == 4 * 4 * (3 * splats + 40 * 5) + 2 * W * H * 160, "three layers, one with velocity, centre and duration; two images"


def test_memory_that_runs_low_stops_training_after_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter([10**9, 10**9, 10**7])
    monkeypatch.setattr("fourfold.training.room.free_memory", lambda: next(left))
    with pytest.raises(FourfoldError, match="stopped with 10 MB of memory left"):
        tiny(make_recipe(), tmp_path)
    assert max(p.name for p in (tmp_path / "checkpoints").iterdir()) == "stage_00_step_000016.safetensors"
    monkeypatch.undo()
    again, whole = tiny(make_recipe(), tmp_path), tiny(make_recipe(), tmp_path / "whole")
    assert all(np.array_equal(a.splats["means"], b.splats["means"]) for a, b in zip(again.layers, whole.layers, strict=True))


def test_memory_refused_elsewhere_is_one_sentence(
    casual_capture: Path, hurry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object) -> None:
        raise MemoryError("Unable to allocate 3.2 GiB")

    monkeypatch.setattr("fourfold.capture.ingest.split", refused)
    assert main(["prepare", str(casual_capture), "-o", str(tmp_path / "run"), "--quality", "draft"]) == 2
    said = capfd.readouterr().err
    assert "memory did not suffice (Unable to allocate 3.2 GiB): free some" in said and "Traceback" not in said
