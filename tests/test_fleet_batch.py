"""Batches: manifests, tries that are lost, refused or fail, and calls that continue. Workers are stand-ins; one try is real."""

import json
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from fourfold.cli import main
from fourfold.errors import FourfoldError
from fourfold.fleet.attempt import Outcome, attempt
from fourfold.fleet.batch import MOST_LOST, TABLE, run_batch
from fourfold.fleet.manifest import Job, read_manifest
from fourfold.options import Options
from fourfold.owner import OWNER_FILE, owned, wait_until_free

GOOD = Outcome(True, True, "", 2.0, {"psnr": 30.0})
FAILED = Outcome(False, False, "internal error: trial", 1.0)
REFUSED = Outcome(False, True, "clip.mp4 is no video: give another", 1.0)


@pytest.fixture
def jobs(tmp_path):
    """Three jobs, one after the other of a manifest."""
    for name in "abc":
        (tmp_path / f"{name}.mp4").touch()
    (tmp_path / "list.txt").write_text("a.mp4\n# a comment\n\nb.mp4   # another\nc.mp4\n")
    return read_manifest(tmp_path / "list.txt", tmp_path / "out")


class Workers:
    """Gives each job the outcomes it is due, an exception being the loss of the worker; remembers what it was asked."""

    def __init__(self, **due):
        self.due, self.asked = {name: list(outcomes) for name, outcomes in due.items()}, []

    def __call__(self, job, again):
        self.asked.append((job.name, again))
        outcome, future = self.due[job.name].pop(0), Future()
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            if outcome.good:
                job.out.mkdir(parents=True, exist_ok=True)
                (job.out / "scene.safetensors").touch()
            future.set_result(outcome)
        return future


def test_lost_and_failed_tries_are_made_again_and_mistakes_are_not(jobs, tmp_path):
    workers = Workers(a=[OSError("gone"), GOOD], b=[REFUSED], c=[FAILED, FAILED, FAILED])
    rows = run_batch(jobs, tmp_path / "out", workers, retries=2)
    assert [(row.name, row.state, row.tries) for row in rows] == [("a", "done", 2), ("b", "refused", 1), ("c", "failed", 3)]
    assert workers.asked.count(("a", True)) == 1 and workers.asked.count(("a", False)) == 1, "the second try knows that the first was lost"
    assert rows[0].figures == {"psnr": 30.0} and rows[1].sentence == REFUSED.sentence and rows[2].seconds == 3.0
    assert [row["state"] for row in json.loads((tmp_path / "out" / TABLE).read_text())["rows"]] == ["done", "refused", "failed"]


def test_lost_tries_use_up_no_others_and_have_an_end(jobs, tmp_path):
    lost = OSError("gone")
    workers = Workers(a=[lost] * 5 + [GOOD], b=[FAILED, lost, GOOD], c=[lost] * (MOST_LOST + 1))
    rows = run_batch(jobs, tmp_path / "out", workers, retries=1)
    assert [(row.state, row.tries, row.lost) for row in rows] == [("done", 6, 5), ("done", 3, 1), ("failed", MOST_LOST + 1, MOST_LOST + 1)]


def test_a_second_call_does_what_is_left(jobs, tmp_path):
    run_batch(jobs, tmp_path / "out", Workers(a=[GOOD], b=[FAILED], c=[GOOD]), retries=0)
    (tmp_path / "out" / "c" / "scene.safetensors").unlink()
    workers = Workers(b=[GOOD], c=[GOOD])
    rows = run_batch(jobs, tmp_path / "out", workers, retries=0)
    assert [row.state for row in rows] == ["done"] * 3
    assert [name for name, _ in workers.asked] == ["b", "c"], "a was done, the scene of c is gone"


def test_a_batch_that_was_killed_takes_over_what_ran(jobs, tmp_path):
    run_batch(jobs, tmp_path / "out", Workers(a=[GOOD], b=[GOOD], c=[GOOD]))
    table = json.loads((tmp_path / "out" / TABLE).read_text())
    table["rows"][1]["state"] = "running"
    del table["checksum"]
    (tmp_path / "out" / TABLE).write_text(json.dumps(table))
    workers = Workers(b=[GOOD])
    run_batch(jobs, tmp_path / "out", workers)
    assert workers.asked == [("b", True)]


@pytest.mark.parametrize("content", ["", "[]", '{"rows": [{"name": "a"}]}', '{"rows": 3}'])
def test_a_damaged_table_costs_time_only(content, jobs, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / TABLE).write_text(content)
    assert [row.state for row in run_batch(jobs, tmp_path / "out", Workers(a=[GOOD], b=[GOOD], c=[GOOD]))] == ["done"] * 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.json", '{"defaults": {"quality": "draft"}, "captures": [{"paths": ["a.mp4", "b.mp4"], "name": "rig", "seed": 3}, "c.mp4"]}'),
        ("m.toml", 'defaults.quality = "draft"\n[[captures]]\npaths = ["a.mp4", "b.mp4"]\nname = "rig"\nseed = 3\n[[captures]]\npaths = "c.mp4"\n'),
    ],
)
def test_manifests(name, text, jobs, tmp_path):
    (tmp_path / name).write_text(text)
    rig, single = read_manifest(tmp_path / name, Path("runs"))
    assert rig == Job("rig", (tmp_path / "a.mp4", tmp_path / "b.mp4"), Path("runs/rig"), Options(quality="draft", seed=3))
    assert single.options == Options(quality="draft") and single.out == Path("runs/c")
    assert rig.words == ["reconstruct", str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4"), "-o", "runs/rig", "--quality", "draft", "--seed", "3"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("{}", "has no list `captures`"),
        ('{"captures": []}', "lists no capture"),
        ('{"captures": [3]}', "capture 1 of .* is neither a path nor a table"),
        ('{"captures": [{"name": "x"}]}', "names no `paths`"),
        ('{"captures": ["d.mp4"]}', "d.mp4, which is not there"),
        ('{"captures": ["a.mp4", "a.mp4"]}', "two captures called 'a'"),
        ('{"captures": [{"paths": "a.mp4", "name": "../a"}]}', "a name has letters"),
        ('{"captures": [{"paths": "a.mp4", "colour": 1}]}', "an option 'colour' that `reconstruct` does not have: choose among recipe"),
        ('{"captures": [{"paths": "a.mp4", "seed": "one"}]}', "gives seed = 'one': expected int"),
        ('{"captures": [{"paths": "a.mp4", "baselines": 1}]}', "gives baselines = 1: expected bool"),
    ],
)
def test_what_is_wrong_with_a_manifest_is_one_sentence(text, said, jobs, tmp_path):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(FourfoldError, match=said) as error:
        read_manifest(tmp_path / "m.json", tmp_path / "out")
    assert "\n" not in str(error.value)


def test_a_real_try_ends_in_an_outcome(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    job = Job("broken", (tmp_path / "broken.mp4",), tmp_path / "run", Options())
    outcome = attempt(job)
    assert (outcome.good, outcome.final) == (False, True) and "broken.mp4" in outcome.sentence
    assert not (tmp_path / "run").exists()


def test_a_lock_of_a_lost_machine_is_taken_over(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / OWNER_FILE).write_text(json.dumps({"process": 1, "host": "lost", "began": None}))
    job = Job("broken", (tmp_path / "broken.mp4",), tmp_path / "run", Options())
    assert "process 1 on lost is working on" in attempt(job).sentence
    assert "broken.mp4" in attempt(job, again=True).sentence


def test_what_a_killed_worker_had_started_ends_and_leaves_the_run_free(casual_capture, tmp_path):
    job = Job("casual", (casual_capture,), tmp_path / "run", Options(quality="draft", recipe="splat3d", device="cpu"))
    program = f"""
from pathlib import Path
from fourfold.fleet.attempt import attempt
from fourfold.fleet.manifest import Job
from fourfold.options import Options
attempt(Job("casual", (Path({str(casual_capture)!r}),), Path({str(job.out)!r}), {job.options!r}))
"""
    worker = subprocess.Popen([sys.executable, "-c", program])
    while not (job.out / OWNER_FILE).exists():
        assert worker.poll() is None
        time.sleep(0.02)
    owner = json.loads((job.out / OWNER_FILE).read_text())["process"]
    assert owner != worker.pid
    worker.kill()
    worker.wait()
    wait_until_free(job.out, 20.0)
    with owned(job.out):
        pass


def test_waiting_for_an_owner_has_an_end(tmp_path):
    began = time.monotonic()
    with owned(tmp_path):
        wait_until_free(tmp_path, 0.3)
    assert 0.3 <= time.monotonic() - began < 5.0
    wait_until_free(tmp_path, 60.0)
    assert time.monotonic() - began < 5.0


def test_the_command_without_ray(tmp_path, capfd):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "list.txt").write_text("broken.mp4\n")
    assert main(["batch", str(tmp_path / "list.txt"), "-o", str(tmp_path / "out"), "--cluster", "processes"]) == 1
    out = capfd.readouterr().out
    assert out.startswith("broken  refused") and "broken.mp4" in out
