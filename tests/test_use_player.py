"""The player: what is packed decodes to the scene, and a browser draws what our rasterizer draws."""

import base64
import gzip
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fourfold.evaluation.metrics import psnr
from fourfold.pipeline import Run
from fourfold.render.api import rasterize
from fourfold.scene.motion.linear import Linear
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import DYNAMIC, STATIC, Layer, Scene
from fourfold.viewer.player import PlayerOptions, pack, write_player

TYPES = {"float32": np.float32, "uint16": np.uint16, "int8": np.int8, "uint8": np.uint8}


def _splats(count: int, random: np.random.Generator) -> dict[str, torch.Tensor]:
    def tensor(*shape: int) -> torch.Tensor:
        return torch.from_numpy(random.normal(size=shape).astype(np.float32))

    return {
        "means": tensor(count, 3) + torch.tensor([0.0, 0.0, 5.0]),
        "quat_wxyz": tensor(count, 4),
        "log_scale": 0.3 * tensor(count, 3) - 2.0,
        "opacity_logit": tensor(count),
        "color_logit": tensor(count, 3),
    }


@pytest.fixture
def scene():
    random = np.random.default_rng(0)
    moving = _splats(30, random) | {
        "velocity": torch.from_numpy(random.normal(size=(30, 3)).astype(np.float32)),
        "time_center": torch.full((30,), 0.2),
        "log_duration": torch.full((30,), -0.5),
    }
    layers = [Layer("static", STATIC, Static(), _splats(50, random)), Layer("free", DYNAMIC, Linear(), moving)]
    return Scene(layers, (0.0, 0.5), background=(0.1, 0.2, 0.3))


@pytest.fixture
def capture(finished_run):
    return Run(finished_run).capture


def _sections(header, blob):
    return {s["name"]: np.frombuffer(blob, TYPES[s["dtype"]], int(np.prod(s["shape"])), s["offset"]).reshape(s["shape"]) for s in header["sections"]}


def test_what_is_packed_decodes_to_the_scene(scene, capture):
    header, blob = pack(scene, capture, PlayerOptions(keyframes=5))
    parts = _sections(header, blob)
    assert header["times"] == pytest.approx([0, 0.125, 0.25, 0.375, 0.5])
    assert parts["moving_means"].shape == (5, 30, 3) and parts["static_means"].shape == (1, 50, 3)
    for kind, layer in (("static", scene.layers[0]), ("moving", scene.layers[1])):
        low, high = parts[f"{kind}_box"]
        for frame in range(len(parts[f"{kind}_means"])):
            truth = layer.motion.at(layer, torch.tensor([header["times"][frame]]))[0]
            means = low + parts[f"{kind}_means"][frame] / 65535.0 * (high - low)
            assert np.abs(means - truth.means.numpy()).max() <= (high - low).max() / 65535 * 0.6
            quats = parts[f"{kind}_quats"][frame] / 127.0
            same = np.abs((quats * torch.nn.functional.normalize(truth.quat_wxyz, dim=1).numpy()).sum(1)) / np.linalg.norm(quats, axis=1)
            assert np.degrees(2 * np.arccos(np.clip(same, 0, 1))).max() < 1.5
            assert np.abs(parts[f"{kind}_opacity"][frame] / 255.0 - truth.opacity.numpy()).max() <= 0.5 / 255 + 1e-6
        assert np.abs(parts[f"{kind}_colors"] / 255.0 - truth.color.numpy()).max() <= 0.5 / 255 + 1e-6
        assert np.allclose(parts[f"{kind}_scales"], truth.scale.numpy(), rtol=1e-5)


def test_the_layout_is_one_that_a_browser_can_map(scene, capture):
    header, blob = pack(scene, capture, PlayerOptions())
    ends = [0]
    for section in header["sections"]:
        size = np.dtype(TYPES[section["dtype"]]).itemsize
        assert section["offset"] % 8 == 0 and section["offset"] >= ends[-1], "typed arrays need aligned, disjoint sections"
        ends.append(section["offset"] + size * int(np.prod(section["shape"])))
    assert ends[-1] <= len(blob)
    assert len(header["cameras"]) == 14 and len(header["cameras"][0]["pose"]) == 16
    json.dumps(header, allow_nan=False)


def test_what_is_never_visible_is_left_out(scene, capture):
    scene.layers[0].splats["opacity_logit"][:20] = -9.0
    parts = _sections(*pack(scene, capture, PlayerOptions()))
    assert parts["static_means"].shape == (1, 30, 3)


@pytest.mark.parametrize("kept", [0, 1])
def test_scenes_of_one_kind_only(kept, scene, capture):
    parts = _sections(*pack(replace(scene, layers=[scene.layers[kept]]), capture, PlayerOptions()))
    assert {name.partition("_")[0] for name in parts} == {("static", "moving")[kept]}


def test_the_page_carries_the_pack(scene, capture, tmp_path):
    write_player(tmp_path / "player.html", scene, capture)
    page = (tmp_path / "player.html").read_text(encoding="utf-8")
    header = json.loads(re.search(r'id="header" type="application/json">(.*?)</script>', page, re.S)[1])
    blob = gzip.decompress(base64.b64decode(re.search(r'id="data" type="application/octet-stream">(.*?)</script>', page, re.S)[1]))
    expected, bytes_of_it = pack(scene, capture, PlayerOptions())
    assert header == json.loads(json.dumps(expected)) and blob == bytes_of_it
    write_player(tmp_path / "again.html", scene, capture)
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "player.html").read_bytes()


def _screenshot(browser: str, page: Path, out: Path, width: int, height: int) -> None:
    options = ["--headless", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--hide-scrollbars"]
    shot = [f"--window-size={width},{height}", "--virtual-time-budget=3000", f"--screenshot={out}", f"--user-data-dir={out.parent / 'profile'}"]
    subprocess.run([browser, *options, *shot, f"file://{page}?time=0.5"], check=True, capture_output=True, timeout=240)


def test_a_browser_draws_what_the_rasterizer_draws(finished_run, tmp_path):
    browser = next((b for b in map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome")) if b), None)
    if browser is None:
        pytest.skip("no Chromium here")
    width, height = 480, 320  # 3:2 as the capture: the window shows just what was filmed
    _screenshot(browser, finished_run / "player.html", tmp_path / "shot.png", width, height)
    shown = np.asarray(Image.open(tmp_path / "shot.png").convert("RGB")).astype(np.float32) / 255
    run = Run(finished_run)
    time = 0.5 * sum(run.scene.time_range)
    from fourfold.export.paths import camera_between

    camera = replace(camera_between(run.capture, 0, time).scaled(width / 96), near=run.scene.near)
    with torch.no_grad():
        drawn = rasterize(run.scene.at(time), camera, background=torch.tensor(run.scene.background)).color.clamp(0, 1).numpy()
    assert shown.shape == drawn.shape == (height, width, 3)
    inside = np.zeros((height, width), bool)
    inside[60:255] = True  # neither the hint above nor the bar below
    assert shown[inside].std() > 0.05, "an empty page"
    assert psnr(shown, drawn, inside) > 28
    assert psnr(np.roll(shown, 12, axis=1), drawn, inside) < psnr(shown, drawn, inside) - 2, "the comparison can tell"
