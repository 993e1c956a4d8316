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

from browser import Browser
from fourfold.scene.file import load_scene

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
# The field beside a label, the button of a name, the line of a list; a number or a choice put into a field as hands would.
HANDS = """
window.beside = (label, what) => {
  let at = [...document.querySelectorAll('label, span, div, p')].find(
    e => !e.querySelector('*:not(wbr)') && e.textContent.trim() === label);
  while (at && !at.querySelector(what)) at = at.parentElement;
  return at ? [...at.querySelectorAll(what)] : [];
};
window.field = label => beside(label, 'input:not([type=hidden])').pop();
window.open_folder = name => [...document.querySelectorAll('*')].filter(e => e.textContent.trim() === name).pop().click();
window.button = name => [...document.querySelectorAll('button')].find(b => b.textContent.trim() === name);
window.line = (label, name) => beside(label, 'button').find(b => b.textContent.trim() === name);
window.type = (label, text, number) => {
  const all = number === undefined ? [field(label)] : beside(label, 'input:not([type=hidden])'), at = all[number || 0];
  at.focus();
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(at, text);
  at.dispatchEvent(new Event('input', {bubbles: true}));
  at.blur();
};
window.choose = (label, option) => {
  field(label).click();
  [...document.querySelectorAll('[role=option]')].filter(o => o.textContent === option).pop().click();
};
0
"""


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
    return page.ask(f"field({json.dumps(label)})?.value ?? ''")


def _press(page: Browser, label: str) -> None:
    page.ask(f"field({json.dumps(label)}).scrollIntoView(), 0")
    box = page.ask(f"field({json.dumps(label)}).getBoundingClientRect().toJSON()")
    page.press(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def _scene(page: Browser) -> np.ndarray:
    """The left of the page: the picture, without panel and notices."""
    return page.picture()[160:, :480]


def _address(log: Path) -> str:
    """Where the viewer that writes to `log` listens."""
    return _wait_for(lambda: re.search(r"http://[\d.]+:\d+/", log.read_text()))[0]


def test_a_browser_follows_a_training(browser, finished_run, tmp_path):
    browser.network(True)
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    shutil.rmtree(run / "checkpoints")
    (run / "scene.safetensors").unlink()
    words = ("train", str(run), "--quality", "draft", "--recipe", "freetimegs")
    log = tmp_path / "view.txt"
    with _process(sys.executable, "-c", TRAINING, *words, log=tmp_path / "train.txt") as training:
        _wait_for(lambda: list((run / "checkpoints").glob("*.safetensors")) or training.poll() is not None)
        assert training.poll() is None, (tmp_path / "train.txt").read_text()
        with _process(sys.executable, "-m", "fourfold", "view", str(run), "--port", "0", log=log) as viewing:
            browser.open(_address(log), 800, 520)
            _look_around(browser)
            assert training.poll() is None and viewing.poll() is None
    assert "Traceback" not in log.read_text()


def _look_around(page: Browser) -> None:
    page.until("document.body?.innerText.includes('Layers')", PATIENCE)
    page.ask(HANDS)
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


def test_every_control_does_what_it_says(browser, copied_run, tmp_path):
    browser.network(True)
    log = tmp_path / "view.txt"
    with _process(sys.executable, "-m", "fourfold", "view", str(copied_run), "--port", "0", log=log):
        address = _address(log)
        browser.open(address, 800, 520)
        browser.until("document.body?.innerText.includes('Layers')", PATIENCE)
        browser.ask(HANDS)
        _wait_for(lambda: _scene(browser).std() > 0.08)
        for use in (_time, _shown, _filmed, _tracks, _film, _edit):
            use(browser, copied_run)
        assert not [said for said in browser.errors if not said.startswith("warning")]
        browser.open(address.replace("127.0.0.1", "evil.example"), 800, 520)
        browser.until("document.body?.innerText.includes('this server answers to its own address and its own page only')", PATIENCE)
    assert "Traceback" not in log.read_text()


def _changed(page: Browser, act: Callable[[], Any], pixels: int = 1000) -> None:
    """So many pixels of the picture are others after `act`."""
    before = _scene(page)
    act()
    _wait_for(lambda: (np.abs(_scene(page) - before).max(axis=2) > 0.1).sum() > pixels)


def _click(page: Browser, name: str) -> None:
    page.ask(f"button({json.dumps(name)}).click(), 0")


def _type(page: Browser, label: str, text: str, number: int | None = None) -> None:
    page.ask(f"type({json.dumps(label)}, {json.dumps(text)}{'' if number is None else f', {number}'}), 0")
    time.sleep(0.2)  # the page tells of what was typed a few times a second, of what was pressed at once


def _choose(page: Browser, label: str, option: str) -> None:
    page.ask(f"choose({json.dumps(label)}, {json.dumps(option)}), 0")


def _says(page: Browser, sentence: str) -> None:
    page.until(f"document.body.innerText.includes({json.dumps(sentence)})", PATIENCE)


def _time(page: Browser, run: Path) -> None:
    """Any moment; twice as fast without a loop it comes to the end and stays there."""
    _changed(page, lambda: _type(page, "Seconds", "0.3"))
    _press(page, "Loop")
    _type(page, "Speed", "4")
    _press(page, "Play")
    end = float(page.ask("beside('Seconds', 'input:not([type=hidden])').pop().max || 0")) or 0.4
    _wait_for(lambda: float(_value(page, "Seconds")) >= end and not page.ask("field('Play').checked"))


def _shown(page: Browser, run: Path) -> None:
    for way in ("depth", "opacity", "motion groups", "colour"):
        _changed(page, lambda way=way: _choose(page, "As", way))
    _changed(page, lambda: _press(page, "static"))
    _changed(page, lambda: _press(page, "static"))


def _filmed(page: Browser, run: Path) -> None:
    """Frusta lie in the picture; the nearest filmed frame is told with its error."""
    _press(page, "Beside")
    _wait_for(lambda: re.match(r".*, \d\.\d\d s, \d\d\.\d dB", _value(page, "Frame")))
    assert page.ask("[...document.querySelectorAll('img')].some(i => i.naturalWidth === 192 && i.naturalHeight === 64)")
    _press(page, "Beside")
    _changed(page, lambda: _press(page, "Cameras"), 50)
    _changed(page, lambda: _press(page, "Cameras"), 50)


def _tracks(page: Browser, run: Path) -> None:
    _changed(page, lambda: page.press(180, 260), 20)
    _changed(page, lambda: _click(page, "Forget all"), 20)


def _film(page: Browser, run: Path) -> None:
    """Three keyframes, of which one is deleted, one moved and one looked from; films along them and along the steadied path."""
    page.ask("open_folder('Film'), 0")
    _click(page, "Write MP4")
    _says(page, "a camera path got 0 keyframes")
    for number, seconds in enumerate((0.1, 0.2, 0.3)):
        _type(page, "Seconds", str(seconds))
        _click(page, "Add keyframe")
        _says(page, f"{number + 1}: {seconds:.2f} s")
    page.ask("line('2: 0.20 s', 'Delete').click(), 0")
    _says(page, "2: 0.30 s")
    page.ask("line('2: 0.30 s', 'Up').click(), 0")
    _says(page, "2: 0.10 s")
    page.ask("line('2: 0.10 s', 'Go').click(), 0")
    _wait_for(lambda: float(_value(page, "Seconds")) == 0.1)
    page.ask("line('1: 0.30 s', 'Set').click(), 0")
    _says(page, "1: 0.10 s")
    _type(page, "Length, seconds", "0.2")
    _type(page, "Longest side", "48")
    _click(page, "Write MP4")
    _wait_for((run / "exports" / "film_1.json").exists)
    _choose(page, "Along", "Filmed path, steadied")
    _click(page, "Write MP4")
    _wait_for((run / "exports" / "film_2.json").exists)
    kept, steady = (json.loads((run / "exports" / f"film_{n}.json").read_text()) for n in (1, 2))
    assert len(kept) == len(steady) == 6 and {entry["time"] for entry in kept} == {0.1} and steady[-1]["time"] > steady[0]["time"]
    assert all((run / "exports" / f"film_{n}.mp4").stat().st_size > 500 for n in (1, 2))
    assert all(max(path[0]["width"], path[0]["height"]) == 48 for path in (kept, steady))
    _click(page, "Forget keyframes")
    _says(page, "Keyframes: none")


def _edit(page: Browser, run: Path) -> None:
    """Every line is made, told and taken back; what does not work is said; the scene that is left is written."""
    page.ask("open_folder('Edit'), 0")
    _click(page, "Drop hidden layers")
    _says(page, "no layer is hidden")
    _type(page, "Low corner", "-100", 0)  # of three fields the first
    told = {
        "Background only": "background only",
        "Movers only": "movers only",
        "Drop floaters": "without floaters",
        "Freeze this time": "freeze at 0.10 s",
        "Keep this mover": "keep mover 0",
        "Drop this mover": "drop mover 0",
        "Crop to the box": "crop",
        "Change speed": "0.5 times as fast",
    }
    for name, done in told.items():
        _click(page, name)
        _wait_for(lambda done=done: _value(page, "Done") == done)
        _click(page, "Undo")
        _wait_for(lambda: _value(page, "Done") == "nothing")
    _type(page, "Other scene", str(run / "nowhere.safetensors"))
    _click(page, "Join the other scene")
    _says(page, "nowhere.safetensors")
    _type(page, "Other scene", str(run / "scene.safetensors"))
    _click(page, "Join the other scene")
    _says(page, "static 2")
    _press(page, "static")
    _click(page, "Drop hidden layers")
    _wait_for(lambda: _value(page, "Done").endswith("without static"))
    _click(page, "Write scene")
    _wait_for((run / "exports" / "edited_1.safetensors").exists)
    names = [layer.name for layer in load_scene(run / "exports" / "edited_1.safetensors").layers]
    assert "static" not in names and "static 2" in names


def test_others_are_told_of(browser, finished_run, tmp_path):
    """With --share-lan it says who sees the scene, and files of this machine cannot be named."""
    browser.network(True)
    log = tmp_path / "view.txt"
    with _process(sys.executable, "-m", "fourfold", "view", str(finished_run), "--port", "0", "--share-lan", log=log):
        address = _address(log).replace("0.0.0.0", "127.0.0.1")  # of a machine without a network
        _wait_for(lambda: "everybody in this network who knows the address sees the scene and has all controls" in log.read_text())
        browser.open(address, 800, 520)
        browser.until("document.body?.textContent.includes('Undo')", PATIENCE)
        assert not browser.ask("document.body.textContent.includes('Join')")
