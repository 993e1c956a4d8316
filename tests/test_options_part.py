"""The part of a capture that `Options` and the commands ask for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import capture_files as files
from fourfold.capture.source import CaptureOptions
from fourfold.cli.program import main
from fourfold.options import Options, command_line


def test_options_reach_the_capture(tmp_path: Path) -> None:
    clip = files.write_video(tmp_path / "clip.mp4", files.grey_ramp(5))
    part = {"start": 0.5, "end": 2.0, "every": 2, "fps": 12.5, "max_frames": 40}
    assert Options(**part).capture_options([clip]) == CaptureOptions(**part)
    assert Options(**part, offsets="0,0.1").capture_options([clip, clip]) == CaptureOptions(**part, synchronise="auto", offsets=(0.0, 0.1))
    words = command_line([clip], tmp_path / "run", Options(**part, time_budget=90.0))
    for flag in ("--start 0.5", "--end 2.0", "--every 2", "--fps 12.5", "--max-frames 40", "--time-budget 90s"):
        assert flag in words


def test_commands_take_a_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = files.write_video(tmp_path / "clip.mp4", files.grey_ramp(30), fps=10)
    assert main(["inspect", str(clip), "--start", "1", "--end", "2", "--every", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["times"], found["fps"], found["duration_seconds"]) == (5, 5.0, 0.8)
    posed = tmp_path / "posed"
    files.write_images(posed / "images", files.grey_ramp(30))
    rows = np.zeros((30, 17))
    rows[:, :15] = np.array([[0, 1, 0, 0, 48], [1, 0, 0, 0, 64], [0, 0, -1, 0, 50]], float).ravel()
    np.save(posed / "poses_bounds.npy", rows)
    assert main(["convert", str(posed), "--to", "nerfstudio", "--every", "2", "--max-frames", "8", "-o", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").rglob("*.png"))) == 8
    assert main(["inspect", str(clip), "--max-frames", "1"]) == 2
    assert "needs two or more" in capsys.readouterr().err
