"""The walk through a rig: what it shows is the rig's, nobody sees what is held out, and its table tells means, published rows and orderings."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic import SyntheticOptions, generate

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "basketball_walk.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("basketball_walk", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    options = SyntheticOptions(frames=9, width=16, height=16, supersample=1, tracks=16)
    return generate("dense_rig", tmp_path_factory.mktemp("rig") / "rig", options=options)


def test_the_walk_shows_the_rig(script, rig, tmp_path):
    fixed = rig.view_names[int(np.flatnonzero(rig.heldout.any(axis=1))[0])]
    made = script.walk(rig, tmp_path / "walk", fixed=fixed, arc=360.0, dwell=2, moments=7)
    again = Capture.load(tmp_path / "walk")
    assert (made.views, made.times) == (again.views, again.times) == (4, 7)
    assert again.train[:3].all() and again.heldout[3].all() and not (again.train & again.heldout).any()
    shown = np.array([[rig.view_names.index(name) for name in row] for row in again.facts["cameras"]])
    assert (shown[3] == rig.view_names.index(fixed)).all()
    assert not rig.heldout[shown[:3]].any()
    assert not set(shown[0]) & set(shown[1]) and not set(shown[1]) & set(shown[2])
    hops = (shown[:3, 1:] != shown[:3, :-1]).sum(axis=1)
    assert (hops >= 2).all()
    for view, time in np.ndindex(shown.shape):
        assert np.array_equal(again.image(view, time), rig.image(int(shown[view, time]), time))
        assert np.allclose(again.world_to_camera[view, time], rig.world_to_camera[shown[view, time], time])
        assert np.allclose(again.K[view, time], rig.K[shown[view, time], time])
    assert again.mask(0, 3) is not None and again.mask(3, 3) is None


def _row(method, seed, dynamic, capture="walk"):
    figures = {"psnr_dynamic": dynamic, "psnr_static": 25.0, "psnr": 20.0, "ssim": 0.5}
    return {"capture": capture, "method": method, "seed": seed, "quality": "draft", "metrics": figures, "train_seconds": 10.0}


def test_the_table_tells_means_and_orderings(script):
    rows = [_row("sparse_dynamic", 0, 18.0), _row("sparse_dynamic", 1, 19.0), _row("mosca_naive", 0, 16.0), _row("mosca_naive", 1, 17.5)]
    text = script.table(rows)
    assert "| walk | draft | sparse_dynamic | 2 | 18.50 (18.00 to 19.00) | 25.00 (25.00 to 25.00) |" in text
    assert "| Average (letcamsgo) | published | mosca_naive: MoSca | | 15.60 | | 18.28 | 0.777 | |" in text
    assert "no_epipolar" not in text
    assert "full against mosca_naive in psnr_dynamic: holds, better in 2 of 2 pairs, by +1.750" in text


def test_pairs_are_of_one_capture(script):
    rows = [_row("sparse_dynamic", 0, 18.0, "short"), _row("mosca_naive", 0, 16.0, "long")]
    assert script.orderings(rows) == []


def test_every_method_of_the_plan_can_be_asked_for(script):
    asked = {"full" if name == "sparse_dynamic" else name for name in script.METHODS}
    plan = script.plan_of("sparse_dynamic")
    assert asked >= set(plan.published[0].rows) - set(plan.filmed)  # other systems and other films are not of this walk
    assert asked == {*script.ABLATIONS, "lived_bases"}
