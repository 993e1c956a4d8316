"""One changed byte in what is kept, also in a header that still reads well, is seen; what can be made again is, and the rest is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fourfold.cli import main
from fourfold.errors import FourfoldError
from fourfold.files import read_object, write_sealed
from fourfold.notices import fallbacks, job
from fourfold.priors.frames_kept import open_kept
from fourfold.run_config import claim, read_config
from fourfold.scene.file import load_scene, save_scene
from fourfold.training.metrics_log import MetricsLog, read_metrics
from test_training_resume import losses, run


def change(file: Path, old: str, new: str) -> None:
    """Put `new` in the place of the first `old` of the same length in the file's bytes."""
    before = file.read_bytes()
    assert old.encode() in before and len(old) == len(new)
    file.write_bytes(before.replace(old.encode(), new.encode(), 1))


def test_a_changed_number_in_a_checkpoints_header(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = run(tmp_path)
    newest = max((tmp_path / "checkpoints").iterdir())
    before = losses(tmp_path)
    change(newest, '\\"caution\\": 1.0', '\\"caution\\": 2.0')
    again = run(tmp_path)
    assert f"the checkpoint {newest.name} is damaged" in capfd.readouterr().err
    assert all(torch.equal(a.splats["means"], b.splats["means"]) for a, b in zip(whole.layers, again.layers, strict=True))
    assert losses(tmp_path) == before


def test_a_changed_number_in_a_scenes_header(tmp_path: Path) -> None:
    scene = run(tmp_path)
    save_scene(scene, tmp_path / "scene.safetensors")
    load_scene(tmp_path / "scene.safetensors")
    change(tmp_path / "scene.safetensors", '\\"near\\": 0.01', '\\"near\\": 0.02')
    with pytest.raises(FourfoldError, match="its checksum is another"):
        load_scene(tmp_path / "scene.safetensors")


def test_a_sealed_object(tmp_path: Path) -> None:
    write_sealed(tmp_path / "a.json", {"b": [1, 2.5, None], "a": {"x": "ü"}})
    assert read_object(tmp_path / "a.json") == {"b": [1, 2.5, None], "a": {"x": "ü"}}
    change(tmp_path / "a.json", "2.5", "2.7")
    with pytest.raises(FourfoldError, match="its checksum is another"):
        read_object(tmp_path / "a.json")
    (tmp_path / "plain.json").write_text('{"a": 1}')
    assert read_object(tmp_path / "plain.json") == {"a": 1}, "what others wrote carries none"


@pytest.mark.parametrize("spoil", ["change", "cut", "remove"])
def test_a_damaged_config_of_the_capture_that_is_asked_for_is_written_again(spoil: str, casual_capture: Path, hurry: None, tmp_path: Path) -> None:
    words = ["prepare", str(casual_capture), "-o", str(tmp_path / "run"), "--quality", "draft", "--only", "cameras"]
    assert main(words) == 0
    config = tmp_path / "run" / "config.json"
    before = config.read_bytes()
    if spoil == "change":
        change(config, '"seed": 0', '"seed": 7')
    elif spoil == "cut":
        config.write_bytes(before[:-30])
    else:
        config.unlink()
    with job() as told:
        with pytest.raises(FourfoldError, match=r"config.json is damaged|is not a run"):
            claim(tmp_path / "run", "another capture")
        assert main(words) == 0
    assert any("config.json is damaged or missing: it is written again" in sentence for sentence in told.sentences)
    assert config.read_bytes() == before and read_config(tmp_path / "run")["options"]["seed"] == 0


def test_a_changed_line_of_the_metrics_is_left_out_and_said(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "m.jsonl", 0, 0)
    for step in range(5):
        log.write({"stage": 0, "step": step, "losses": {"rgb": 0.5 + step}})
    log.close()
    with job():
        MetricsLog(tmp_path / "m.jsonl", 0, 5).close()
        assert not fallbacks()
        change(tmp_path / "m.jsonl", "2.5", "2.7")
        assert [line["step"] for line in read_metrics(tmp_path / "m.jsonl")] == [0, 1, 3, 4]
        MetricsLog(tmp_path / "m.jsonl", 0, 5).close()
        assert len(fallbacks()) == 1 and "lines of steps that were done before are missing" in fallbacks()[0]
    assert [json.loads(line)["step"] for line in (tmp_path / "m.jsonl").read_text().splitlines()] == [0, 1, 3, 4]


@pytest.mark.parametrize(("stage", "step", "complete"), [(0, 0, True), (0, 2, True), (1, 0, True), (1, 1, True), (0, 3, False), (1, 2, False)])
def test_the_metrics_reach_the_next_step_or_it_is_said(stage: int, step: int, complete: bool, tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "m.jsonl", 0, 0)
    for place in ((0, 0), (0, 1), (1, 0)) if stage else ((0, 0), (0, 1)):
        log.write({"stage": place[0], "step": place[1]})
    log.close()
    with job():
        MetricsLog(tmp_path / "m.jsonl", stage, step).close()
        assert bool(fallbacks()) != complete


def test_a_changed_byte_in_a_kept_frame(tmp_path: Path) -> None:
    made = []

    def make() -> list[np.ndarray]:
        made.append(0)
        return [np.arange(6.0).reshape(2, 3), np.ones(2, np.uint8)]

    for _ in range(2):
        open_kept(tmp_path / "kept", "key").frame("a", make)
    assert len(made) == 1
    file = tmp_path / "kept" / "a.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 4
    file.write_bytes(bytes(data))
    (first, second) = open_kept(tmp_path / "kept", "key").frame("a", make) or ()
    assert len(made) == 2 and (first == np.arange(6.0).reshape(2, 3)).all() and (second == 1).all()
