"""`fourfold view` in a browser, while the run it shows is being trained."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser import Browser, find_browser

pytest.importorskip("viser")

# A training that lasts until it is ended: draft with few Gaussians and many steps, a checkpoint every few of them.
TRAINING = """
import sys
from dataclasses import replace
from fourfold.cli import main
from fourfold.recipes.recipe import QUALITIES, Quality
from fourfold import pipeline
QUALITIES["draft"] = Quality(pixels=45_000, steps=9.0, gaussians=0.05)
plain = pipeline.TrainConfig
pipeline.TrainConfig = lambda *given, **more: replace(plain(*given, **more), checkpoint_every=10)
sys.exit(main(sys.argv[1:]))
"""
PATIENCE = 90.0  # seconds for what takes one or two on a machine with nothing else to do
FIELD = """(label) => {
  let at = [...document.querySelectorAll('label, span, div, p')].find(e => !e.children.length && e.textContent.trim() === label);
  while (!at.querySelector('input')) at = at.parentElement;
  return [...at.querySelectorAll('input:not([type=hidden])')].pop();
}"""


@contextmanager
def _process(*words: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        process = subprocess.Popen(words, stdout=file, stderr=file, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=PATIENCE)


def _wait_for(condition: Callable[[], Any]) -> Any:
    """The first true answer of `condition`."""
    end = time.monotonic() + PATIENCE
    while not (answer := condition()):
        assert time.monotonic() < end, f"nothing came in {PATIENCE} s"
        time.sleep(0.1)
    return answer


def _value(page: Browser, label: str) -> str:
    """What stands in the field beside a label."""
    return page.ask(f"({FIELD})({json.dumps(label)}).value")


def _press(page: Browser, label: str) -> None:
    box = page.ask(f"({FIELD})({json.dumps(label)}).getBoundingClientRect().toJSON()")
    page.press(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def _scene(page: Browser) -> np.ndarray:
    """The left of the page: the picture, without panel and notices."""
    return page.picture()[160:, :480]


def test_a_browser_follows_a_training(finished_run, tmp_path):
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium here")
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    shutil.rmtree(run / "checkpoints")
    (run / "scene.safetensors").unlink()
    words = ("train", str(run), "--quality", "draft", "--recipe", "freetimegs")
    log = tmp_path / "view.txt"
    with _process(sys.executable, "-c", TRAINING, *words, log=tmp_path / "train.txt") as training:
        _wait_for(lambda: list((run / "checkpoints").glob("*.safetensors")) or training.poll() is not None)
        assert training.poll() is None, (tmp_path / "train.txt").read_text()
        with (
            _process(sys.executable, "-m", "fourfold", "view", str(run), "--port", "0", log=log) as viewing,
            Browser(program, tmp_path / "profile", offline=False) as page,
        ):
            page.open(_wait_for(lambda: re.search(r"http://127\.0\.0\.1:\d+/", log.read_text()))[0], 800, 520)
            _look_around(page)
            assert training.poll() is None and viewing.poll() is None
    assert "Traceback" not in log.read_text()


def _look_around(page: Browser) -> None:
    page.until("document.body?.innerText.includes('Layers')", PATIENCE)
    _wait_for(lambda: _scene(page).std() > 0.08)
    first = _value(page, "Scene")
    assert re.match(r"stage_\d\d_step_\d+: [\d,]+ Gaussians", first)
    _wait_for(lambda: _value(page, "Scene") != first)

    _press(page, "Play")
    _wait_for(lambda: float(_value(page, "Seconds")) > 0)
    _press(page, "Play")

    whole = _scene(page)
    _press(page, "static")
    _wait_for(lambda: np.abs(_scene(page) - whole).mean() > 0.04)
    assert all(address.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:", "about:")) for address in page.requests)
    assert not [said for said in page.errors if not said.startswith("warning")]  # of the library, and that there is no graphics card
