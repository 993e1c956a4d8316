"""The benchmark of training steps on a clip small enough for a test: what it says, not how fast it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fourfold.recipes import find_recipe
from fourfold.recipes.recipe import Stage
from fourfold.training import benchmark
from fourfold.training.benchmark import BenchNumbers, bench_training, heldout_psnr
from fourfold.training.benchmark_case import Case, CaseSize, make_case
from fourfold.training.columns import join_columns, split_columns
from fourfold.training.state import TrainingState

TINY = CaseSize(gaussians=400, width=48, height=27, frames=8, bases=3, tracks=60, heldout_every=4)


def test_a_case_is_the_same_every_time_and_its_truth_explains_its_images(tmp_path: Path) -> None:
    case, again = make_case(TINY, tmp_path / "a"), make_case(TINY, tmp_path / "b")
    assert (case.capture.image(0, 3) == again.capture.image(0, 3)).all()
    assert torch.equal(case.start.layer("object").splats["means"], again.start.layer("object").splats["means"])
    assert case.priors.masks is not None and case.priors.tracks2d is not None
    assert (case.priors.masks.mask[0] > 0).any() and (case.priors.masks.mask[0] < 0).any()
    assert case.priors.tracks2d.visibility.any() and len(case.capture.heldout_frames()) == 2
    assert heldout_psnr(case, TrainingState(case.truth)) > 45 > heldout_psnr(case, TrainingState(case.start))


def test_the_report_has_every_loss_and_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "STANDARD", TINY)
    stage = find_recipe("shape_of_motion").longest_stage
    report = bench_training(stage, BenchNumbers(steps=3, warmup=1, psnr=99.0, most_steps=4, check_every=2), growth=(replace(TINY, frames=12),))
    assert json.loads(json.dumps(report)) == report
    names = {row["stage"] for row in report["stages"]}
    assert {f"loss {term.name}" for term in stage.terms} | {"raster forward", "raster backward", "optimiser"} <= names
    assert report["step_ms"] > 0 and report["growth"][0]["frames"] == 12
    assert report["to_psnr"]["steps"] is None and report["to_psnr"]["reached"] < 99


def test_the_shortest_training_that_reaches_what_is_asked_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tried: list[int] = []

    def trained(case: Case, stage: Stage, steps: int) -> tuple[float, float]:
        tried.append(steps)
        return 20 + steps / 10, 2.0 * steps

    monkeypatch.setattr(benchmark, "_trained", trained)
    case, stage = make_case(TINY, tmp_path), find_recipe("shape_of_motion").longest_stage
    found = benchmark._to_psnr(case, stage, BenchNumbers(psnr=27.0, most_steps=200, check_every=20))
    assert (found["steps"], found["seconds"]) == (80, 160.0) and len(tried) <= 4
    assert benchmark._to_psnr(case, stage, BenchNumbers(psnr=41.0, most_steps=200, check_every=20))["steps"] is None
    assert max(tried) == 200


def test_columns_are_joined_and_split_with_the_gradients_of_cat_and_split() -> None:
    random = torch.Generator().manual_seed(0)
    parts = [torch.randn(3, 2, width, generator=random, dtype=torch.float64, requires_grad=True) for width in (1, 4, 2)]
    assert torch.equal(join_columns(parts), torch.cat(parts, dim=-1))
    assert all(torch.equal(a, b) for a, b in zip(split_columns(join_columns(parts), [1, 4, 2]), parts, strict=True))
    assert torch.autograd.gradcheck(lambda *p: join_columns(p), parts)
    whole = torch.randn(3, 2, 7, generator=random, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: split_columns(w, [1, 4, 2]), (whole,))
    assert torch.autograd.gradcheck(lambda w: split_columns(w, [1, 4, 2])[1], (whole,))  # the others are read by nobody
