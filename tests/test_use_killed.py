"""`fourfold train` killed in the middle and started again ends as if nothing had happened."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from fourfold.cli import main
from fourfold.scene.file import load_scene

# The program with few steps and frequent checkpoints; everything else is as a user has it.
PROGRAM = """
import functools, sys
import fourfold.pipeline as pipeline
from fourfold.cli import main
from fourfold.recipes.recipe import QUALITIES, Quality
QUALITIES["draft"] = Quality(pixels=45_000, steps=0.05, gaussians=0.03)
pipeline.TrainConfig = functools.partial(pipeline.TrainConfig, checkpoint_every=9)
sys.exit(main(sys.argv[1:]))
"""


def _train(root: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM, "train", str(root), "--quality", "draft", "--recipe", "splat3d", "--device", "cpu"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _lines(root: Path) -> list[dict]:
    """The complete lines of a metrics file that may be growing, without their times (and so without their checksums)."""
    file = root / "metrics.jsonl"
    complete = file.read_text().rpartition("\n")[0].splitlines() if file.exists() else []
    return [{k: v for k, v in json.loads(line).items() if k not in ("ms", "crc")} for line in complete]


def test_a_killed_training_continues_bit_for_bit(casual_capture, hurry, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(["prepare", str(casual_capture), "-o", str(whole), "--quality", "draft", "--recipe", "splat3d"]) == 0
    shutil.copytree(whole, killed)
    process = _train(whole)
    assert process.wait(timeout=300) == 0, process.stderr.read()

    process = _train(killed)
    while len(_lines(killed)) < 25 and process.poll() is None:
        time.sleep(0.003)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=60) == -signal.SIGKILL, "it was over before it could be killed"
    at_death = _lines(killed)
    assert 25 <= len(at_death) < len(_lines(whole)) and not (killed / "scene.safetensors").exists()

    process = _train(killed)
    assert process.wait(timeout=300) == 0, process.stderr.read()
    assert _lines(killed) == _lines(whole), "the losses are those of an uninterrupted run"
    one, two = (load_scene(root / "scene.safetensors").layers[0].splats for root in (whole, killed))
    assert all((one[name] == two[name]).all() for name in one)
