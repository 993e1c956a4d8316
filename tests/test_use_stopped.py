"""Signals, owners and what killed processes leave: nothing is lost, nothing stays, and nobody works beside another."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from fourfold.cli import main
from fourfold.errors import FourfoldError
from fourfold.interruption import Interrupted, stop_on_signals, sweep, temporary_folder, unbroken
from fourfold.owner import OWNER_FILE, owned
from test_use_killed import _lines, _train

CHILD = "import sys, time; from fourfold.interruption import end_with_parent; end_with_parent(); print('up', flush=True); time.sleep(60)"
PARENT = f"""
import os, sys
from fourfold.interruption import run_child, stop_on_signals, temporary_folder
with stop_on_signals(), temporary_folder("trial") as folder:
    print(folder, flush=True)
    run_child([sys.executable, "-c", {CHILD!r}], os.environ)
"""


def _wait(process: subprocess.Popen, condition) -> None:
    while not condition():
        assert process.poll() is None, "it was over before it could be stopped"
        time.sleep(0.003)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_training_has_saved_its_last_step_and_continues_bit_for_bit(number, casual_capture, hurry, tmp_path):
    stopped = tmp_path / "stopped"
    assert main(["prepare", str(casual_capture), "-o", str(stopped), "--quality", "draft", "--recipe", "splat3d"]) == 0
    whole = Path(shutil.copytree(stopped, tmp_path / "whole"))
    process = _train(whole)
    assert process.wait(timeout=300) == 0, process.stderr.read()

    process = _train(stopped)
    _wait(process, lambda: len(_lines(stopped)) >= 12)
    process.send_signal(number)
    assert process.wait(timeout=60) == 128 + number
    done = _lines(stopped)
    newest = max(p.name for p in (stopped / "checkpoints").iterdir())
    assert newest == f"stage_{done[-1]['stage']:02d}_step_{done[-1]['step'] + 1:06d}.safetensors", "saved after the step that was under way"
    assert not (stopped / OWNER_FILE).exists()

    process = _train(stopped)
    assert process.wait(timeout=300) == 0, process.stderr.read()
    assert _lines(stopped) == _lines(whole)
    assert (stopped / "scene.safetensors").read_bytes() == (whole / "scene.safetensors").read_bytes()


def test_a_signal_waits_for_what_is_unbroken():
    done = []
    with pytest.raises(Interrupted) as stop, stop_on_signals():
        with unbroken():
            with unbroken():
                os.kill(os.getpid(), signal.SIGTERM)
                done.append("inner")
            done.append("outer")
        done.append("never")
    assert done == ["inner", "outer"] and stop.value.number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "handlers are as before"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_after_all_is_done_changes_nothing(number):
    late = f"import atexit, os; from fourfold.cli import entry; atexit.register(os.kill, os.getpid(), {int(number)}); entry()"
    done = subprocess.run([sys.executable, "-c", late, "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.startswith("fourfold ")


def test_a_native_call_that_hears_nothing_is_ended_by_force_and_leaves_nothing(tmp_path):
    program = f"""
import hashlib
from pathlib import Path
from fourfold.files import replacing
from fourfold.interruption import stop_on_signals, temporary_folder
from fourfold.owner import owned
run = Path({str(tmp_path)!r})
with stop_on_signals(), owned(run), replacing(run / "priors" / "flow") as part, temporary_folder("trial") as folder:
    part.mkdir()
    (part / "half").touch()
    print(folder, flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    folder = Path(process.stdout.readline().strip())
    time.sleep(1.0)  # until it is inside
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 143
    assert not folder.exists() and "continues" in process.stderr.read()
    assert [p.name for p in tmp_path.rglob("*")] == ["priors"], "neither the lock nor what was half written"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_children_end_with_their_parent_and_folders_go(number):
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    folder = Path(process.stdout.readline().strip())
    _wait(process, lambda: _children(process.pid))
    (child,) = _children(process.pid)
    process.send_signal(number)
    process.wait(timeout=20)
    if number == signal.SIGKILL:
        assert folder.exists(), "nobody was there to remove it"
        sweep()
    assert not folder.exists()
    deadline = time.time() + 20
    while Path(f"/proc/{child}").exists() and time.time() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{child}").exists()


def _children(parent: int) -> list[int]:
    listing = Path(f"/proc/{parent}/task/{parent}/children")
    if not listing.exists():
        pytest.skip("this system does not list the children of a process")
    return [int(word) for word in listing.read_text().split()]


def test_folders_of_the_living_and_of_others_stay():
    with temporary_folder("mine") as mine, tempfile.TemporaryDirectory(prefix="fourfold-words-") as other:
        sweep()
        assert mine.is_dir() and Path(other).is_dir()
    assert not mine.exists()


def test_a_run_has_one_owner(tmp_path):
    root = tmp_path / "run"
    program = f"from pathlib import Path; from fourfold.owner import owned\nwith owned(Path({str(root)!r})): print('mine', flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "mine\n"
    with (
        pytest.raises(FourfoldError, match=f"^process {process.pid} is working on {root}: wait for its end or choose another output folder"),
        owned(root),
    ):
        pass
    process.kill()
    process.wait()
    assert (root / OWNER_FILE).exists(), "the dead owner's lock"
    with owned(root):
        assert json.loads((root / OWNER_FILE).read_text())["process"] == os.getpid()
        with pytest.raises(FourfoldError, match="is working on"), owned(root):
            pass
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("content", ["", "null", "{}", '{"process": "x", "host": 1}'])
def test_a_damaged_lock_belongs_to_nobody(content, tmp_path):
    (tmp_path / OWNER_FILE).write_text(content)
    with owned(tmp_path):
        pass


def test_a_number_taken_by_another_process_is_no_owner(tmp_path):
    lock = {"process": os.getppid(), "host": os.uname().nodename, "began": "another boot 17"}
    (tmp_path / OWNER_FILE).write_text(json.dumps(lock))
    with owned(tmp_path):
        pass


def test_an_owner_on_another_machine_is_believed(tmp_path):
    (tmp_path / OWNER_FILE).write_text(json.dumps({"process": 1, "host": "elsewhere", "began": None}))
    with pytest.raises(FourfoldError, match="process 1 on elsewhere is working on"), owned(tmp_path):
        pass


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path):
    with owned(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["x" * 300, "y/" + "z" * 300])
def test_a_name_that_is_too_long(name, casual_capture, tmp_path, capfd):
    assert main(["reconstruct", str(casual_capture), "-o", str(tmp_path / name)]) == 2
    assert "File name too long" in capfd.readouterr().err


def test_a_dangling_link_as_output(casual_capture, tmp_path, capfd):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "at all")
    assert main(["reconstruct", str(casual_capture), "-o", str(tmp_path / "link")]) == 2
    assert "choose another output folder" in capfd.readouterr().err
