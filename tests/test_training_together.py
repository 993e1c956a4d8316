"""Two processes that train together against one process with both batches, a signal to one of them, and one that dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fourfold.cli import main
from fourfold.errors import FourfoldError
from fourfold.fleet.ranks import run_ranks
from fourfold.priors.contracts import Priors
from fourfold.scene.file import load_scene, save_scene
from fourfold.scene.scene import Scene
from fourfold.training.metrics_log import read_metrics
from fourfold.training.together import Alone, InTurn, Together, from_environment
from fourfold.training.trainer import TrainConfig, train
from test_training_resume import make_capture, make_recipe

HURRY = """
from fourfold.recipes.recipe import QUALITIES, Quality
QUALITIES["draft"] = Quality(pixels=45_000, steps={steps}, gaussians=0.03)
"""


def trained(out: Path, together: Together) -> Scene:
    """Two stages of 100 steps."""
    capture = make_capture(out / "capture" if together.first else out / "other")
    recipe = make_recipe()
    recipe = replace(recipe, stages=tuple(replace(stage, steps=100) for stage in recipe.stages))
    return train(recipe, None, capture, Priors(), out, TrainConfig(seed=3, device="cpu", checkpoint_every=8, together=together))


def one_of_two(out: Path) -> None:
    """What each of the two processes runs."""
    torch.set_num_threads(1)
    with from_environment() as together:
        scene = trained(out, together)
        save_scene(scene, out / f"scene_{together.share.mine[0]}.safetensors")


def start_two(out: Path) -> list[subprocess.Popen[str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    folder = Path(__file__).parent
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\nfrom pathlib import Path\nfrom test_training_together import one_of_two\n"
    paths = os.pathsep.join([str(folder.parent / "src"), os.environ.get("PYTHONPATH", "")])
    return [
        subprocess.Popen(
            [sys.executable, "-c", f"{code}one_of_two(Path({str(out)!r}))"],
            env=os.environ | place | {"RANK": str(rank), "PYTHONPATH": paths},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def test_two_processes_give_what_one_gives_with_both_batches(tmp_path: Path) -> None:
    processes = start_two(tmp_path / "two")
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    one = trained(tmp_path / "one", InTurn(2))
    first, second = (load_scene(tmp_path / "two" / f"scene_{rank}.safetensors") for rank in range(2))
    for layer, a, b in zip(one.layers, first.layers, second.layers, strict=True):
        assert len(layer) == len(a), "density control decided alike"
        for name, value in layer.splats.items():
            assert torch.equal(a.splats[name], b.splats[name]), "both hold the same scene to the bit"
            assert torch.equal(a.splats[name], value), "and the one process too: with two, sums have one order"
    assert len(one.layers[0]) > 40, "the static layer has grown"
    alone = trained(tmp_path / "alone", Alone())
    assert float((alone.layers[0].splats["means"][:40] - one.layers[0].splats["means"][:40]).norm()) > 1e-2, "the batch of two is another"
    logs = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("two", "one")]
    assert [line["step"] for line in logs[0]] == [line["step"] for line in logs[1]] and len(logs[0]) == 200
    assert logs[0][-1]["losses"]["rgb"] == pytest.approx(logs[1][-1]["losses"]["rgb"], rel=1e-4)


@pytest.fixture
def prepared(casual_capture, hurry, tmp_path, monkeypatch):
    """A function that makes a prepared run, with so many steps of training in processes that are started for it."""

    def make(steps: float) -> Path:
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "sitecustomize.py").write_text(HURRY.format(steps=steps))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]))
        assert main(["prepare", str(casual_capture), "-o", str(tmp_path / "run"), "--quality", "draft", "--recipe", "splat3d"]) == 0
        return tmp_path / "run"

    return make


WORDS = ("--quality", "draft", "--recipe", "splat3d", "--device", "cpu")


def test_the_command_trains_in_two_processes(prepared, capfd) -> None:
    run = prepared(0.02)
    assert main(["train", str(run), *WORDS, "--processes", "2", "--json"]) == 0
    said = capfd.readouterr()
    assert json.loads(said.out.splitlines()[-1])["recipe"] == "splat3d" and "Traceback" not in said.err
    assert load_scene(run / "scene.safetensors").layers and not (run / ".owner.json").exists()


def _command(run: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fourfold", "train", str(run), *WORDS, "--processes", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while len(read_metrics(run / "metrics.jsonl")) < 5:
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.05)
    return process


def _ranks_of(parent: int) -> list[int]:
    listing = Path(f"/proc/{parent}/task/{parent}/children")
    if not listing.exists():
        pytest.skip("this system does not list the children of a process")
    return [int(word) for word in listing.read_text().split()]


def _running(process: int) -> bool:
    """Whether it runs; one that nobody has waited for yet is no more."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_signal_stops_all_after_the_same_step_with_a_checkpoint(prepared) -> None:
    run = prepared(100.0)
    process = _command(run)
    ranks = _ranks_of(process.pid)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 143
    assert len(ranks) == 2 and not any(_running(rank) for rank in ranks)
    last, newest = read_metrics(run / "metrics.jsonl")[-1], max(p.name for p in (run / "checkpoints").iterdir())
    assert newest == f"stage_{last['stage']:02d}_step_{last['step'] + 1:06d}.safetensors"
    assert not (run / ".owner.json").exists()


def test_one_that_dies_ends_the_others_in_one_sentence(prepared) -> None:
    run = prepared(100.0)
    process = _command(run)
    ranks = _ranks_of(process.pid)
    os.kill(ranks[1], signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert [line for line in said.splitlines() if line.startswith("fourfold: ")] == [
        "fourfold: error: process 2 of the 2 that trained together was ended by SIGKILL, and so were the others: "
        "the same command again continues from the last checkpoint"
    ]
    assert "Traceback" not in said and not any(_running(rank) for rank in ranks)


def test_a_mistake_is_told_once(tmp_path, capfd) -> None:
    with pytest.raises(FourfoldError, match="capture"):
        run_ranks(["train", str(tmp_path / "nothing")], 2)
    assert "fourfold: " not in capfd.readouterr().err


@pytest.mark.parametrize("count", ["0", "-1"])
def test_a_number_of_processes_that_is_none(count, tmp_path, capfd) -> None:
    assert main(["train", str(tmp_path), "--processes", count]) == 2
    assert "expected 1 or more" in capfd.readouterr().err
