"""The benchmark of priors: errors against hand-made cases, isolation of inputs, exact priors score perfectly, spoilt ones do not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fourfold.errors import FourfoldError
from fourfold.evaluation import bench_priors, bench_priors_inputs
from fourfold.evaluation.bench_priors import Choice, Row, bench, check
from fourfold.evaluation.bench_priors_inputs import Draft, base_capture, variant
from fourfold.evaluation.bench_priors_long_tracks import score_long_tracks
from fourfold.evaluation.bench_priors_page import write_page
from fourfold.evaluation.bench_priors_scores import Judge, score_cameras, score_depth, score_flow, score_masks, score_matches
from fourfold.evaluation.bench_priors_tracks import score_space_tracks, score_tracks2d
from fourfold.evaluation.bench_priors_truth import ExactScene
from fourfold.evaluation.prior_scores import camera_errors, depth_errors, flow_errors, mask_scores
from fourfold.geometry.rotations import so3_exp
from fourfold.priors.contracts import Cameras, Depth, Flow, LongTracks, Masks, Matches, Provenance, Tracks2D, Tracks3D

TRUTH = Provenance("truth")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def base(folder: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bench_priors_inputs.DRAFTS, "casual", Draft(6, 96, 64))
        return base_capture("casual", 0, folder / "captures")


@pytest.fixture(scope="module")
def judge(base: Path, folder: Path) -> Judge:
    return Judge(variant(base, ("cameras",), False, folder / "captures"), base, ExactScene.load(base))


def test_depth_errors_by_hand() -> None:
    truth = np.array([[2.0, 4.0, 1.0, 0.0]])
    scores = depth_errors(np.array([[1.0, 2.0, 0.0, 3.0]]), truth)
    assert scores is not None
    assert scores["abs_rel"] == pytest.approx(0.5)
    assert scores["rmse"] == pytest.approx(np.sqrt((1 + 4) / 2))
    assert scores["delta_125"] == 0
    assert scores["scale"] == 2
    assert (scores["abs_rel_scaled"], scores["rmse_scaled"], scores["delta_125_scaled"]) == (0, 0, 100)
    assert scores["known"] == pytest.approx(200 / 3)
    assert depth_errors(np.zeros((1, 4)), truth) is None
    with pytest.raises(FourfoldError, match="expected the same"):
        depth_errors(np.zeros((1, 3)), truth)


def test_flow_errors_by_hand() -> None:
    truth = np.array([[0.0, 0], [100, 0], [3, 0], [9, 9]])
    flow = truth + np.array([[3.0, 4], [4, 0], [0, 1], [50, 50]])
    scores = flow_errors(flow, truth, np.array([True, True, True, False]))
    # errors 5, 4 and 1; the second is over 3 px but under 5 % of 100
    assert scores is not None
    assert scores["epe"] == pytest.approx(10 / 3)
    assert scores["outliers"] == pytest.approx(100 / 3)


def test_mask_scores_treat_the_band_as_said() -> None:
    truth = np.array([1, 1, 1, 1, -1, -1, -1, -1])
    mask = np.array([1, 1, 0, 0, 0, 1, -1, -1])
    scores = mask_scores(mask, truth)
    assert scores["iou"] == pytest.approx(2 / 3)
    assert scores["iou_full"] == pytest.approx(2 / 5)
    assert scores["unused"] == pytest.approx(37.5)


def _poses(count: int) -> np.ndarray:
    import torch

    random = np.random.default_rng(3)
    pose = np.tile(np.eye(4), (count, 1, 1))
    pose[:, :3, :3] = so3_exp(torch.from_numpy(random.standard_normal((count, 3)))).numpy()
    pose[:, :3, 3] = random.standard_normal((count, 3))
    return pose


def test_cameras_of_another_world_are_perfect_and_a_known_turn_is_measured() -> None:
    true = _poses(8)
    view = np.zeros(8, int)
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = _poses(1)[0][:3, :3], (1, -2, 3)
    moved = true @ world
    moved[:, :3, 3] *= 2.5  # the same poses in a world turned, moved and 2.5 times larger
    scores = camera_errors(moved, true, view)
    assert scores is not None
    assert max(scores[k] for k in ("rotation_max", "ate", "rpe_rotation", "rpe_translation")) < 1e-6
    angle = np.radians(2.0)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    one = true.copy()
    one[4] = turn @ one[4]  # turned about its own centre
    scores = camera_errors(one, true, view)
    assert scores is not None
    assert scores["rotation_max"] == pytest.approx(2, abs=1e-6)
    assert scores["rotation"] == pytest.approx(0.25, abs=1e-6)
    assert scores["rpe_rotation"] == pytest.approx(2 * 2 / 7, abs=1e-6)
    one[2] = np.nan
    scores = camera_errors(one, true, view)
    assert scores is not None
    assert scores["registered"] == 87.5


def test_cameras_that_stand_still_are_compared_by_orientation() -> None:
    true = _poses(5)
    centre = np.array([0.3, 0.1, -2.0])
    true[:, :3, 3] = -true[:, :3, :3] @ centre
    turned = true.copy()
    turned[:, :3, :3] = true[:, :3, :3] @ _poses(1)[0][:3, :3]
    scores = camera_errors(turned, true, np.zeros(5, int))
    assert scores is not None
    assert scores["rotation_max"] < 1e-6


def test_variants_hold_what_was_asked_for_and_no_truth(base: Path, folder: Path) -> None:
    bare = variant(base, (), False, folder / "captures")
    assert bare.cameras == "unknown"
    assert not (bare.has("masks") or bare.has("depth"))
    given = variant(base, ("cameras", "masks", "depth"), False, folder / "captures")
    exact = np.load(base / "truth" / "masks_000.npy")
    np.testing.assert_array_equal(np.stack([given.mask(0, t) for t in range(given.times)]), exact)
    assert given.cameras == "given"
    noisy = variant(base, ("cameras", "masks"), True, folder / "captures")
    difference = np.asarray(noisy.image(0, 2), float) - bare.image(0, 2)
    assert 3 < difference.std() < 6
    assert (np.asarray(noisy.mask(0, 2)) != exact[2]).any()
    assert not any((c.root / "truth").exists() for c in (bare, given, noisy))


def test_the_truth_itself_scores_perfectly(base: Path, judge: Judge) -> None:
    truth, scene = judge.scene.truth, judge.scene
    none = np.zeros(0, np.float32)
    cameras = score_cameras(Cameras(TRUTH, truth.K, truth.world_to_camera, np.zeros((0, 3), np.float32), none, none.astype(np.int32)), judge)
    assert cameras is not None
    assert cameras["rotation_max"] == pytest.approx(0, abs=1e-6)
    maps = {k: tuple(np.load(base / "truth" / f"{k}_{v:03d}.npy") for v in range(2)) for k in ("masks", "depth")}
    masks = score_masks(Masks(TRUTH, maps["masks"]), judge)
    assert masks is not None
    assert masks["iou"] == 1
    depth = score_depth(Depth(TRUTH, maps["depth"], maps["depth"]), judge)
    assert depth is not None
    assert depth["rmse"] == 0
    assert depth["abs_rel_moving"] == 0
    size = judge.capture.sizes[0]
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    pixels = np.stack([columns.ravel(), rows.ravel()], 1) + 0.5
    forward = np.zeros((2, 6, size[1], size[0], 2), np.float32)
    for t in range(5):
        forward[0, t] = np.nan_to_num(scene.paths(0, t, pixels, at=[t + 1]).xy[:, 0] - pixels).reshape(size[1], size[0], 2)
    flow = score_flow(Flow(TRUTH, tuple(forward), tuple(forward), tuple(forward[..., 0]), tuple(forward[..., 0])), judge)
    assert flow is not None
    assert flow["epe"] == pytest.approx(0, abs=1e-5)
    assert flow["epe_moving"] == pytest.approx(0, abs=1e-5)


def test_true_long_tracks_are_without_error_and_a_wrong_return_is_counted(judge: Judge) -> None:
    size = judge.capture.sizes[0]
    pixels = np.random.default_rng(0).uniform(2, size - 2, (60, 2))
    paths = judge.scene.paths(0, 0, pixels)
    keep = np.isfinite(paths.xy).all(axis=(1, 2))
    xy, moments = paths.xy[keep], np.array([0, 1, 2, 4, 5])
    track = np.repeat(np.arange(len(xy), dtype=np.int32), len(moments))
    time = np.tile(moments, len(xy)).astype(np.int32)
    exact = LongTracks(TRUTH, xy[:, moments].reshape(-1, 2).astype(np.float32), time, track, np.zeros(len(xy), np.int32))
    score = score_long_tracks(exact, judge)
    assert score is not None
    assert score["error_5_10"] == pytest.approx(0, abs=1e-3)
    assert (score["near_still"], score["links"], score["links_right"]) == (100, len(xy), 100)
    wrong = exact.xy.copy()
    wrong[(track % 2 == 0) & (time >= 4)] += 3 * size.max() / 640  # 3 px of an image 640 px wide, in x and y
    spoilt = score_long_tracks(replace(exact, xy=wrong), judge)
    assert spoilt is not None
    assert spoilt["links_right"] == pytest.approx(50, abs=2)
    assert spoilt["near_still"] == pytest.approx(75, abs=2)


def test_true_tracks_score_a_hundred_and_late_ones_less(judge: Judge) -> None:
    truth = judge.scene.truth
    own = np.flatnonzero(truth.visibility[0, :, 1])
    xy, seen = truth.xy[0, own].astype(np.float32), truth.visibility[0, own].astype(np.float16)
    many = np.zeros(len(own), np.int32)
    scores = score_tracks2d(Tracks2D(TRUTH, xy, seen, seen, many, many + 1), judge)
    assert scores is not None
    assert (scores["aj"], scores["delta_avg"], scores["oa"]) == (100, 100, 100)
    late = np.concatenate([xy[:, :2], xy[:, 1:-1]], 1)
    spoilt = score_tracks2d(Tracks2D(TRUTH, late, seen, seen, many, many + 1), judge)
    assert spoilt is not None
    assert spoilt["aj"] is not None
    assert spoilt["aj"] < 90
    space = Tracks3D(
        TRUTH, truth.xyz[own].astype(np.float32), seen, seen, truth.color[own], np.ones(len(own), np.float32), many, many.astype(np.uint8)
    )  # fmt: skip
    exact = score_space_tracks(space, judge)
    assert exact is not None
    assert exact["epe"] == pytest.approx(0, abs=1e-4)
    assert exact["near_5cm"] == 100
    shifted = replace(space, xyz=space.xyz + np.linspace(0, 0.2, 6, dtype=np.float32)[None, :, None] * np.float32([0, 1, 0]))
    wrong = score_space_tracks(shifted, judge)
    assert wrong is not None
    assert wrong["epe"] is not None
    assert 0.03 < wrong["epe"] < 0.2


def test_true_matches_are_exact(judge: Judge) -> None:
    truth = judge.scene.truth
    both = np.flatnonzero(truth.visibility[0, :, 0] & truth.visibility[0, :, 4])
    a, b = (truth.xy[0, both, t].astype(np.float32) for t in (0, 4))
    images = np.array([[0, 0, 0, 4]], np.int32)
    scores = score_matches(Matches(TRUTH, images, np.zeros(len(both), np.int32), a, b, np.ones(len(both), np.float16)), judge)
    assert scores is not None
    assert scores["within_2px"] == 100


def test_the_table_is_made_kept_and_written(base: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench_priors_inputs.DRAFTS, "casual", Draft(6, 96, 64))
    choice = Choice(kinds=("casual",), noise=True, priors=("flow", "tracks2d"), providers=("dis", "chained_lucas_kanade"), inputs=("exact",))
    said: list[str] = []
    rows = bench(choice, folder, said.append)
    assert [(r.prior, r.provider, r.noise) for r in rows] == [
        ("flow", "dis", False), ("flow", "dis", True), ("tracks2d", "chained_lucas_kanade", False), ("tracks2d", "chained_lucas_kanade", True),
    ]  # fmt: skip
    assert all(r.metrics and r.error is None and r.seconds for r in rows)
    clean, noisy = (r.metrics["epe"] for r in rows[:2] if r.metrics)
    assert clean is not None and noisy is not None
    assert clean < noisy
    assert len(said) == 4
    monkeypatch.setattr(bench_priors, "prepare_priors", None)
    assert bench(choice, folder, said.append) == rows
    assert bench(replace(choice, finished=True, noise=False), folder) == [r for r in rows if not r.noise]
    assert bench(replace(choice, finished=True, kinds=("casual",), inputs=("images",), providers=("chained_lucas_kanade",)), folder) == []
    write_page(rows, folder / "priors.md", choice, False)
    text = (folder / "priors.md").read_text()
    assert "fourfold bench priors --json --kinds casual --seeds 1 --priors flow tracks2d" in text
    assert text.count("| casual/0 |") == 2
    assert json.dumps(rows[0].metrics)


def test_the_page_names_who_did_not_serve(tmp_path: Path) -> None:
    row = Row("casual/0", "flow", "raft-small", "exact", False, None, None, "no weights")
    write_page([row], tmp_path / "page.md", Choice(kinds=("casual",)), False)
    assert "Did not serve: raft-small: no weights." in (tmp_path / "page.md").read_text()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(FourfoldError, match="there is no kind 'cube' to measure"):
        check(Choice(kinds=("cube",)))
    with pytest.raises(FourfoldError, match="there is no provider 'wizard'"):
        check(Choice(providers=("wizard",)))
    with pytest.raises(FourfoldError, match="at least 1"):
        check(Choice(seeds=0))
