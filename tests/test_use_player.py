"""The player in a browser, from a file and without the network: it draws what our rasterizer draws, and does what it is told."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from browser import Browser
from every_motion import looks, moving_layers, walking_camera
from fourfold.capture.capture import Capture
from fourfold.evaluation.metrics import psnr
from fourfold.export.paths import camera_between, swing
from fourfold.render.api import rasterize
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import STATIC, Layer, Scene
from fourfold.viewer.cameras import focus_of
from fourfold.viewer.packing.config import PackConfig
from fourfold.viewer.player import write_player

NEAR, WIDTH, HEIGHT = 0.5, 320, 240
CLOSED = ("static", "bounded_static", "linear", "flights", "lifespan", "se3_bases", "lived_bases", "retimed")
TIMES = (0.2, 0.52, 0.84)  # of a second, moments of frames
YAWS = (0, 45, 90, 180)


def everything(kinds: list[str], terms: int) -> tuple[Scene, Capture]:
    """A layer of each of `kinds` beside each other, and Gaussians about the near plane of the camera at half time; the principal point is far off."""
    capture = walking_camera()
    capture.K[..., 0, 2] += 25
    capture.K[..., 1, 2] -= 15
    layers = [Layer("still", STATIC, Static(), _before(capture, looks(60, 9, terms)))]
    for number, kind in enumerate(kinds):
        layer = moving_layers()[kind]
        if terms:
            layer.splats["sh_rest"] = looks(len(layer), 20 + number, terms)["sh_rest"]
        layers.append(replace(layer, name=f"<b>{kind}"))
    return Scene(layers, (0.0, 1.0), background=(0.1, 0.2, 0.3), near=NEAR), capture


def _before(capture: Capture, splats: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`splats`, of which two are put just behind and just before the near plane of the camera at a frame that is looked at."""
    pose = torch.from_numpy(capture.world_to_camera[0, round(TIMES[1] * 25)]).float()
    for row, depth in ((0, 1.02 * NEAR), (1, 0.98 * NEAR)):
        splats["means"][row] = pose[:3, :3].T @ (torch.tensor([0.1, 0.05, depth]) - pose[:3, 3])
        splats["log_scale"][row] = torch.tensor([-3.5, -4.0, -4.5])
    return splats


def reference(scene: Scene, capture: Capture, time: float, yaw: float) -> np.ndarray[Any, Any]:
    """What our rasterizer draws of the same view."""
    camera = camera_between(capture, 0, time).scaled(WIDTH / capture.sizes[0][0])
    camera = swing(camera, torch.tensor(focus_of(scene)), float(-np.radians(yaw)), 0.0)
    with torch.no_grad():
        return rasterize(scene.at(time), replace(camera, near=scene.near), background=torch.tensor(scene.background)).color.clamp(0, 1).numpy()


def shown(browser: Browser, time: float, yaw: float) -> np.ndarray[Any, Any]:
    """What the page shows when its picture has settled."""
    browser.ask(f"state.clock = {time}; state.yaw = {np.radians(yaw)}; document.body.dataset.drawn = 'no'; 0")
    browser.until("document.body.dataset.drawn === 'yes'")
    return browser.picture()


@pytest.mark.parametrize(("kinds", "terms"), [(CLOSED, 0), (sorted(set(moving_layers()) - set(CLOSED)), 15)], ids=["closed", "filmed"])
def test_it_draws_what_the_rasterizer_draws(browser: Browser, kinds: list[str], terms: int, tmp_path: Path) -> None:
    scene, capture = everything(list(kinds), terms)
    write_player(tmp_path / "player.html", scene, capture)
    browser.open(f"{(tmp_path / 'player.html').as_uri()}?time=0&yaw=0&plain", WIDTH, HEIGHT)
    browser.until("document.body && document.body.dataset.drawn === 'yes'")
    for time in TIMES:
        for yaw in YAWS:
            seen, truth = shown(browser, time, yaw), reference(scene, capture, time, yaw)
            assert seen.shape == truth.shape and seen.std() > 0.03
            assert psnr(seen, truth) > 45, (time, yaw)
    assert psnr(seen, reference(scene, capture, TIMES[0], YAWS[-1])) < 40, "another moment looks different"
    assert browser.errors == []


def test_blocks_of_time_come_and_go(browser: Browser, tmp_path: Path) -> None:
    """Keyframes in many blocks and two chunks: forwards, and in jumps to where other parts lie in the same place."""
    scene, capture = everything(["polynomial", "chunks"], 0)
    write_player(tmp_path / "player.html", scene, capture, PackConfig(seconds=0.15))
    browser.open(f"{(tmp_path / 'player.html').as_uri()}?time=0&plain", WIDTH, HEIGHT)
    browser.until("document.body && document.body.dataset.drawn === 'yes'")
    assert browser.ask("parts.strands.map(s => s.length).sort().join()") == "2,7"
    for time in (0.04, 0.2, 0.88, 0.24, 0.6, 0.96, 0.0):
        assert psnr(shown(browser, time, 0), reference(scene, capture, time, 0)) > 45, time
    assert browser.errors == []


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the page of a small scene whose name is nasty."""
    path = tmp_path_factory.mktemp("page") / "player.html"
    scene, capture = everything(["lived_bases", "keyframes"], 0)
    write_player(path, scene, replace(capture, name="<!--<script>alert(1)"))
    return path.as_uri()


@pytest.fixture
def opened(browser: Browser, page: str) -> Browser:
    """The same, drawn and standing at its middle."""
    browser.open(f"{page}?time=0.5", WIDTH, HEIGHT)
    browser.until("document.body && document.body.dataset.drawn === 'yes'")
    return browser


def _drag(browser: Browser, x: float, y: float) -> None:
    for kind, at in (("mousePressed", (160, 100)), ("mouseMoved", (160 + x, 100 + y)), ("mouseReleased", (160 + x, 100 + y))):
        browser.call("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left", buttons=int(kind != "mouseReleased"), clickCount=1)


def _choose(browser: Browser, element: str, how: str) -> None:
    browser.ask(f"{{ const e = document.getElementById('{element}'); {how} }} 0")


def test_what_can_be_touched(opened: Browser) -> None:
    ask = opened.ask
    assert ask("document.title").startswith("<!--<script>") and ask("byId('name').textContent") == "<!--<script>alert(1)"
    assert ask("[...document.querySelectorAll('#layers label')].map(l => l.textContent)") == ["still", "<b>lived_bases", "<b>keyframes"]
    assert ask("byId('poster').hidden") and ask("byId('strip').querySelector('img').naturalWidth") > 300
    assert 0 < ask("byId('poster').naturalWidth") <= 640
    # the slider, the keys and the speed
    _choose(opened, "time", "e.value = 0.25; e.dispatchEvent(new Event('input'));")
    assert ask("state.clock") == pytest.approx(0.25) and not ask("state.playing")
    for key in ("ArrowRight", "Space"):
        opened.call("Input.dispatchKeyEvent", type="keyDown", code=key, key=key)
    assert ask("state.playing") and ask("state.clock") >= 0.29
    opened.until("state.clock > 0.35 || state.clock < 0.2")
    _choose(opened, "speed", "e.value = 0; e.dispatchEvent(new Event('change'));")
    assert ask("state.speed") == 0.1
    # without a loop it stops at the end
    _choose(opened, "loop", "e.click();")
    ask("state.clock = 0.999, state.speed = 1, 0")
    opened.until("!state.playing && state.clock === 1")
    opened.until("byId('play').textContent === 'Play'")
    # a layer that is off is not drawn
    before = shown(opened, 0.5, 0)
    ask("document.querySelectorAll('#layers input')[0].click(), document.body.dataset.drawn = 'no', 0")
    opened.until("document.body.dataset.drawn === 'yes'")
    assert np.abs(before - opened.picture())[:150].max() > 0.1
    # other paths; a way back
    assert ask("header.paths.map(p => p.name)")[:2] == ["Filmed: camera", "Orbit"]
    _choose(opened, "path", "e.value = 1; e.dispatchEvent(new Event('change'));")
    assert ask("state.path.name") == "Orbit"
    assert opened.errors == []


def test_turning_keeps_to_what_was_filmed(opened: Browser) -> None:
    for _ in range(12):
        _drag(opened, -12, 0)
    kept = opened.ask("state.yaw")
    assert 0.1 < kept < 1.3 and "Not filmed" in opened.ask("note.textContent")
    _choose(opened, "limit", "e.click();")
    for _ in range(2):
        _drag(opened, -120, 0)
    assert opened.ask("state.yaw") > 1.8
    bright = shown(opened, 0.5, 0).mean()
    dimmed = shown(opened, 0.5, 120)
    _choose(opened, "dim", "e.click();")
    assert dimmed.mean() < 0.75 * shown(opened, 0.5, 120).mean() and bright > 0
    assert opened.errors == []


def test_trails_are_drawn_over_the_picture(opened: Browser) -> None:
    opened.until("trails !== null")
    opened.call("Input.dispatchKeyEvent", type="keyDown", code="KeyT", key="t")
    opened.until("!overlay.hidden")
    painted = (
        "(() => { const d = overlay.getContext('2d').getImageData(0, 0, overlay.width, overlay.height).data; return d.filter(x => x).length; })()"
    )
    assert opened.ask("state.trails") and opened.ask(painted) > 100


def test_a_phone(browser: Browser, page: str) -> None:
    browser.open(f"{page}?time=0.5", 360, 640, touch=True)
    browser.until("document.body && document.body.dataset.drawn === 'yes'")
    boxes = "[...document.querySelectorAll('#bar button')].map(b => b.getBoundingClientRect())"
    assert browser.ask(f"{boxes}.every(r => r.left >= 0 && r.right <= innerWidth)")
    for kind, points in (("touchStart", [(180, 200)]), ("touchMove", [(150, 210)]), ("touchEnd", [])):
        browser.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y} for x, y in points])
    assert browser.ask("state.yaw") > 0.05
    for kind, points in (("touchStart", [(150, 200), (210, 200)]), ("touchMove", [(120, 200), (240, 200)]), ("touchEnd", [])):
        browser.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)])
    assert browser.ask("state.zoom") > 0.3
    browser.ask("byId('more').click(), 0")
    inside = "r.left >= 0 && r.right <= innerWidth && r.top >= 0 && r.bottom <= byId('strip').getBoundingClientRect().top"
    assert browser.ask(f"(() => {{ const r = byId('menu').getBoundingClientRect(); return {inside}; }})()")
    assert browser.errors == []


def test_the_same_scene_gives_the_same_page(tmp_path: Path) -> None:
    scene, capture = everything(["linear"], 3)
    for name in ("one", "two"):
        write_player(tmp_path / f"{name}.html", scene, capture)
    page = (tmp_path / "one.html").read_bytes()
    assert page == (tmp_path / "two.html").read_bytes()
    assert not re.search(rb"__[A-Z]+__", page), "every mark is filled in"


def test_a_browser_without_webgl_is_told(browser: Browser, page: str) -> None:
    script = browser.call("Page.addScriptToEvaluateOnNewDocument", source="HTMLCanvasElement.prototype.getContext = () => null;")
    browser.open(page, WIDTH, HEIGHT)
    browser.until("document.getElementById('note')?.textContent.includes('no WebGL 2')")
    browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])
