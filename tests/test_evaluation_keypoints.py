"""The iPhone data set's keypoints: read from the published layout, lifted by the depth sensor, and scored by the published rule."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fourfold.benchmarking.keypoint_scores import Predicted, predict, score_keypoints, with_keypoints
from fourfold.capture.capture import Capture
from fourfold.capture.convert import convert
from fourfold.capture.ingest import prepare_capture
from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.capture.synthetic.truth import Truth
from fourfold.errors import FourfoldError
from fourfold.evaluation.keypoints import Keypoints, bilinear_known, read_keypoints
from fourfold.evaluation.protocols.run import score_run
from fourfold.evaluation.published.reader import load_published
from fourfold.initialize.splats import make_splats
from fourfold.scene.motion.keyframes import Keyframes
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import DYNAMIC, STATIC, Layer, Scene

MOMENTS = (0, 2, 5)


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Capture, Truth, Path]:
    """A generated clip in the layout of the iPhone data set with keypoints at three moments, prepared at half its size."""
    root = tmp_path_factory.mktemp("phone")
    generate("casual", root / "clip", options=SyntheticOptions(frames=6, width=96, height=64, supersample=1, tracks=60, heldout_every=6))
    whole, truth = Capture.load(root / "clip"), Truth.load(root / "clip")
    convert(whole, "dycheck", root / "iphone")
    folder = root / "iphone" / "keypoint" / "2x" / "train"
    folder.mkdir(parents=True)
    for t in MOMENTS:
        points = np.column_stack([(truth.xy[0, :, t] - 0.5) / 2, truth.visibility[0, :, t]])
        (folder / f"0_{t:05d}.json").write_text(json.dumps(np.nan_to_num(points).tolist()))
    return prepare_capture([root / "iphone"], root / "capture", pixels=48 * 32), truth, root / "iphone"


def test_keypoints_are_where_the_truth_is(phone) -> None:
    capture, truth, _ = phone
    found = read_keypoints(capture)
    assert found is not None and tuple(capture.sizes[0]) == (48, 32) and found.size == (96, 64)
    assert found.index.tolist() == list(MOMENTS) and np.array_equal(found.seen, truth.visibility[0][:, list(MOMENTS)].T)
    assert np.allclose(found.xy[found.seen], truth.xy[0][:, list(MOMENTS)].swapaxes(0, 1)[found.seen])
    away = np.linalg.norm(found.xyz - truth.xyz[:, list(MOMENTS)].swapaxes(0, 1), axis=-1)[found.seen]
    # depth is read between pixels: a pixel is 3 cm wide on the figure, and at its outline the four pixels are of two surfaces
    assert np.isfinite(away).mean() > 0.8 and np.nanmedian(away) < 0.03
    assert np.allclose(found.centre, -np.einsum("tji,tj->ti", truth.world_to_camera[0, :, :3, :3], truth.world_to_camera[0, :, :3, 3])[list(MOMENTS)])


def test_depth_is_read_where_all_four_pixels_know_it() -> None:
    depth = np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 0.0], [3.0, 4.0, 5.0]])
    read = bilinear_known(depth, np.array([[0.5, 0.5], [1.0, 1.0], [0.9, 1.3], [1.6, 0.9], [2.6, 0.5], [-1.0, 1.0]]))
    assert read[:3] == pytest.approx([1.0, 2.0, 1 + 0.4 + 0.8]) and np.isnan(read[3:]).all()


def test_a_folder_without_keypoints_has_none_and_a_damaged_one_is_told(phone, tmp_path: Path) -> None:
    capture, _, root = phone
    assert read_keypoints(replace(capture, facts={**capture.facts, "source": str(tmp_path)})) is None
    file = root / "keypoint" / "2x" / "train" / "0_00002.json"
    kept = file.read_text()
    try:
        for text, said in (
            ("[[1, 2]]", "a point of 2 numbers"),
            ("[[1, 2, 1]]", "different numbers of points"),
            ('[["a", 1, 1]]', "expected a number"),
        ):
            file.write_text(text)
            with pytest.raises(FourfoldError, match=said):
                read_keypoints(capture)
    finally:
        file.write_text(kept)


def made_up(seen: list[list[bool]], generator: np.random.Generator) -> Keypoints:
    """Three points at three moments."""
    flags = np.array(seen)
    xyz, xy = generator.normal(size=(3, 3, 3)), generator.uniform(0, 500, (3, 3, 2))
    return Keypoints(0, np.arange(3), xy, flags, xyz, generator.normal(size=(3, 3)), (720, 960))


def test_figures_follow_the_published_rule() -> None:
    generator = np.random.default_rng(0)
    truth = made_up([[True, True, False], [True, True, True], [True, False, True]], generator)
    moments = len(truth.index)
    right = Predicted(
        np.tile(truth.xyz, (3, 1, 1, 1)), np.tile(truth.xy, (3, 1, 1, 1)), np.where(truth.seen, 0.0, 1.0)[None].repeat(3, 0), truth.centre
    )
    figures = score_keypoints(truth, right)
    assert figures["epe_3d"] == pytest.approx(0, abs=1e-9) and figures["aj"] == figures["oa"] == figures["delta_avg"] == 100
    off = replace(right, xyz=right.xyz + np.array([0.07, 0, 0]), xy=right.xy + np.array([10.0, 0]))
    figures = score_keypoints(truth, off)
    assert figures["epe_3d"] == pytest.approx(0.07) and (figures["delta_3d_05"], figures["delta_3d_10"]) == (0, 100)
    assert figures["delta_avg"] == pytest.approx(60) and figures["oa"] == 100  # beyond 4 and 8 pixels, within 16, 32 and 64
    # one wrong point at one pair of moments: the mean of its pair, then over the nine pairs, those of a moment with itself among them
    one = right.xyz.copy()
    one[0, 1, 0, 0] += 0.3
    both = [int((truth.seen[i] & truth.seen[j]).sum()) for i in range(moments) for j in range(moments)]
    assert score_keypoints(truth, replace(right, xyz=one))["epe_3d"] == pytest.approx(0.3 / both[1] / sum(n > 0 for n in both))
    # the world of the scene may be another
    turn, scale = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), 4.0
    elsewhere = replace(right, xyz=scale * right.xyz @ turn.T + 3, centre=scale * truth.centre @ turn.T + 3, beside=right.beside * scale)
    assert score_keypoints(truth, elsewhere)["epe_3d"] == pytest.approx(0, abs=1e-6)
    hidden = score_keypoints(truth, replace(right, beside=np.full((3, 3, 3), 0.06)))
    assert hidden["aj"] == 0 and hidden["oa"] == pytest.approx(100 * 4 / 14) and hidden["delta_avg"] == 100
    assert score_keypoints(replace(truth, seen=np.zeros((3, 3), bool)), right) == {}


def following(truth: Truth, capture: Capture) -> Scene:
    """A scene whose small opaque Gaussians are the true points, before a far wall."""
    knots = torch.from_numpy(truth.timestamps).float()
    splats = make_splats(truth.xyz[:, 0], truth.color, np.full(len(truth.xyz), 0.02), 0.99)
    splats |= {
        "shift_keys": torch.from_numpy(truth.xyz - truth.xyz[:, :1]).float(),
        "quat_keys": splats["quat_wxyz"][:, None].repeat(1, len(knots), 1),
        "time_on": torch.full((len(truth.xyz),), -9.0),
        "time_off": torch.full((len(truth.xyz),), 9.0),
        "log_fade": torch.zeros(len(truth.xyz), 2),
    }
    wall = make_splats(np.array([[0.0, 0, 40]]), np.ones((1, 3)), np.array([50.0]), 0.99)
    return Scene(
        [Layer("static", STATIC, Static(), wall), Layer("object", DYNAMIC, Keyframes(), splats, {}, {"knots": knots})], (0.0, float(knots[-1]))
    )


def test_a_scene_that_follows_the_truth_is_scored_so(phone, tmp_path: Path) -> None:
    capture, truth, _ = phone
    keypoints = read_keypoints(capture)
    assert keypoints is not None
    scene = following(truth, capture)
    good = score_keypoints(keypoints, predict(scene, capture, keypoints))
    stuck = Scene(
        [scene.layers[0], replace(scene.layers[1], splats=scene.layers[1].splats | {"shift_keys": 0 * scene.layers[1].splats["shift_keys"]})],
        (0.0, 1.0),
    )
    bad = score_keypoints(keypoints, predict(stuck, capture, keypoints))
    assert good["epe_3d"] < 0.5 * bad["epe_3d"] and good["delta_avg"] > bad["delta_avg"]
    bare = score_run("shape_of_motion_iphone", scene, capture, tmp_path)
    outcome = with_keypoints(bare, "shape_of_motion_iphone", scene, capture)
    assert with_keypoints(bare, "dycheck_iphone", scene, capture) is bare
    published = next(row for row in load_published("iphone").rows if row.method == "SOM").figures
    for key in ("epe_3d", "delta_3d_05", "delta_3d_10", "aj", "delta_avg", "oa"):
        assert outcome.metrics[key] == pytest.approx(good[key]) and outcome.variants[key].startswith(published[key].variant)
