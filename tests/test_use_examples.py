"""The numbered examples run as they stand and do what they say."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fourfold.scene.file import load_scene

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def example(monkeypatch, tmp_path):
    """A function from an example's name to what its `main` returns, run with the output folder `tmp_path`."""

    def run(name):
        return runpy.run_path(str(EXAMPLES / name))["main"](tmp_path)

    return run


def test_rasterize(example, tmp_path):
    image = example("1_rasterize.py")
    assert image.shape == (240, 320, 3) and image.max() > 0.6
    written = np.asarray(Image.open(tmp_path / "ring.png"))
    assert np.abs(written / 255.0 - image.clamp(0, 1).numpy()).max() < 0.003
    depth = np.asarray(Image.open(tmp_path / "depth.png"))
    assert depth[:120].max() > depth[120:].max() + 30, "the upper half of the ring is nearer"


def test_fit_a_picture(example, tmp_path):
    before, after = example("2_fit_a_picture.py")
    assert after > before + 8 and after > 20
    assert Image.open(tmp_path / "fitted.png").size == (192, 64)


def test_one_prior(example, tmp_path):
    assert 0.3 < example("3_one_prior.py") < 20
    assert Image.open(tmp_path / "flow.png").size == (192, 64)


def test_own_motion(example, tmp_path):
    scene = example("4_own_motion.py")
    one, half, later = (scene.at(t).means for t in (0.3, 1.3, 2.3))
    assert torch.allclose(one, later, atol=1e-5) and not torch.allclose(one, half, atol=0.1)
    assert torch.allclose(one[:, 1], -half[:, 1], atol=1e-5)
    assert (tmp_path / "swing.mp4").stat().st_size > 2000


def test_anybodys_views(example, tmp_path, hurry):
    scene = example("5_anybodys_views.py")
    assert (tmp_path / "run" / "player.html").stat().st_size > 10_000
    truth = load_scene(tmp_path / "run" / "scene.safetensors")
    assert [layer.name for layer in scene.layers] == [layer.name for layer in truth.layers] == ["static", "free"]
    assert scene.time_range == truth.time_range and len(scene.at(0.0)) > 100
    here, there = (s.at(0.05).means[s.at(0.05).opacity > 0.5].median(0).values for s in (scene, truth))
    torch.testing.assert_close(here, there, atol=0.02, rtol=0)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["outputs"]["4dgs"] == "exports/scene.4dgs" and report["recipe"] == "freetimegs"
    assert report["packed"]["4dgs"]["bytes"] == (tmp_path / "run" / "exports" / "scene.4dgs").stat().st_size
    assert 0 < report["packed"]["player"]["pixels"] <= report["packed"]["player"]["worst_pixels"] and report["packed"]["player"]["decibels"] > 42
    assert " MB</b><span>the player, within 0.0" in (tmp_path / "run" / "report.html").read_text()


def test_every_example_is_tested():
    text = Path(__file__).read_text()
    assert all(f'"{p.name}"' in text for p in EXAMPLES.glob("*.py"))
