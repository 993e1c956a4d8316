"""The whole job's benchmark: seconds become passes of the rasterizer, and a machine is compared with its own past."""

import json
from pathlib import Path

import pytest

from fourfold.benchmarking import whole_job
from fourfold.benchmarking.whole_job import JobCase, raster_seconds, remember, remembered, row_of, table
from fourfold.errors import FourfoldError


def _report(capture: float, training: float) -> dict:
    stages = {"capture": 1.0, "training": 5.0}
    return {"timing": {"total_s": 6.5, "stages": stages, "cpu": {"capture": capture, "training": training}}, "metrics": {"heldout": {"psnr": 21.5}}}


def _row(commit: str, device: str, training: float, raster: float) -> dict:
    return {"commit": commit, "device": device, "raster_ms": 1e3 * raster, "cases": {"clip": row_of(_report(0.5, training), raster)}}


def test_stages_are_told_in_passes_of_the_rasterizer() -> None:
    row = row_of(_report(0.5, 8.0), raster=0.02)
    assert [(s["stage"], s["cpu_in_passes"]) for s in row["stages"]] == [("capture", 25.0), ("training", 400.0)]
    assert (row["wall_s"], row["cpu_s"], row["cpu_in_passes"], row["psnr"]) == (6.5, 8.5, 425.0, 21.5)


def test_a_machine_is_compared_with_its_own_newest_row_and_a_slower_machine_changes_no_ratio(tmp_path) -> None:
    history = tmp_path / "history.jsonl"
    assert remembered(history, "laptop") is None
    for row in (_row("aaa", "laptop", 9.0, 0.02), _row("bbb", "laptop", 8.0, 0.02), _row("ccc", "server", 1.0, 0.01)):
        remember(history, row)
    before = remembered(history, "laptop")
    assert before is not None and before["commit"] == "bbb"
    slowed = _row("ddd", "laptop", 4.0 * 3, 0.02 * 3)  # half the work on a machine three times as slow as before
    line = next(line for line in table(slowed, before).splitlines() if line.startswith("training"))
    assert line.split()[-1] == "0.50"
    assert table(slowed, None).splitlines()[1].startswith("clip, stage")


def test_a_history_that_is_none_is_said_to_be(tmp_path) -> None:
    (tmp_path / "history.jsonl").write_text("no JSON\n")
    with pytest.raises(FourfoldError, match="one JSON object a line"):
        remembered(tmp_path / "history.jsonl", "laptop")


def test_every_case_is_generated_and_told_with_commit_and_machine(monkeypatch) -> None:
    def reconstructed(case: JobCase, root: Path) -> None:
        assert any((root / "capture").iterdir()) and case.quality == "draft"
        (root / "run").mkdir()
        (root / "run" / "report.json").write_text(json.dumps(_report(0.5, 2.0)))

    monkeypatch.setattr(whole_job, "_reconstruct", reconstructed)
    row = whole_job.bench_whole_job([JobCase("clip", "casual", (64, 36), 4, bare=True)])
    assert row["commit"] and row["device"] and row["raster_ms"] > 0
    passes = [stage["cpu_in_passes"] for stage in row["cases"]["clip"]["stages"]]
    assert passes == pytest.approx([0.5e3 / row["raster_ms"], 2e3 / row["raster_ms"]], rel=0.01)
    assert 1e3 * raster_seconds(2) == pytest.approx(row["raster_ms"], rel=20)  # the same pass, however busy the machine
    assert json.loads(json.dumps(row)) == row


def test_a_case_that_fails_says_why_in_a_sentence(tmp_path) -> None:
    with pytest.raises(FourfoldError, match=r"the benchmark's clip could not be reconstructed .*capture"):
        whole_job._reconstruct(JobCase("clip", "casual", (64, 36), 4, bare=True), tmp_path)
