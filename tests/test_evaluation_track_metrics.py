"""Track metrics against TAP-Vid's definition written out in loops, against hand-counted cases, and against exact paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.capture.synthetic.truth import truth_image
from fourfold.errors import FourfoldError
from fourfold.evaluation.bench_priors_truth import ExactScene
from fourfold.evaluation.track_metrics import TAP_VID_PIXELS, pixel_distance, score_tracks, score_tracks3d, without_queries


def tap_vid_in_loops(
    xy: np.ndarray, seen: np.ndarray, true_xy: np.ndarray, true_seen: np.ndarray, query: np.ndarray, only_after: bool
) -> tuple[float, float, float]:
    """AJ, delta_avg and OA (percent) as TAP-Vid's section 3 words them, point by point; positions are in the 256 x 256 raster."""
    right = judged = 0
    counts = {x: {"visible": 0, "near": 0, "tp": 0, "fp": 0} for x in (1, 2, 4, 8, 16)}
    for p in range(len(xy)):
        for t in range(xy.shape[1]):
            if t == query[p] or (only_after and t < query[p]):
                continue
            judged += 1
            right += bool(seen[p, t]) == bool(true_seen[p, t])
            error = float(np.hypot(*(xy[p, t] - true_xy[p, t])))
            for x, c in counts.items():
                c["visible"] += bool(true_seen[p, t])
                near = bool(true_seen[p, t]) and error < x
                c["near"] += near
                c["tp"] += near and bool(seen[p, t])
                c["fp"] += bool(seen[p, t]) and not near
    jaccard = [c["tp"] / (c["visible"] + c["fp"]) for c in counts.values()]
    within = [c["near"] / c["visible"] for c in counts.values()]
    return 100 * float(np.mean(jaccard)), 100 * float(np.mean(within)), 100 * right / judged


@given(seed=st.integers(0, 10**6), only_after=st.booleans())
@settings(max_examples=30, deadline=None)
def test_scores_equal_the_published_definition(seed: int, only_after: bool) -> None:
    random = np.random.default_rng(seed)
    true_xy = random.uniform(0, 256, (6, 9, 2))
    xy = true_xy + random.choice([0.3, 3.0, 20.0], (6, 9, 1)) * random.standard_normal((6, 9, 2))
    seen, true_seen = random.random((6, 9)) < 0.6, random.random((6, 9)) < 0.7
    query = random.integers(0, 7, 6)
    true_seen[:, 8] = True
    judged = without_queries(np.ones((6, 9), bool), query, only_after)
    width, height = 320, 180
    scale = np.array([width, height]) / 256
    scores = score_tracks(pixel_distance(xy * scale, true_xy * scale, (width, height)), seen, true_seen, judged)
    assert scores is not None
    expected = tap_vid_in_loops(xy, seen, true_xy, true_seen, query, only_after)
    np.testing.assert_allclose((scores.aj, scores.delta_avg, scores.oa), expected, rtol=1e-12)


def test_perfect_tracks_score_a_hundred() -> None:
    xy = np.random.default_rng(0).uniform(0, 100, (5, 7, 2))
    seen = np.random.default_rng(1).random((5, 7)) < 0.5
    scores = score_tracks(pixel_distance(xy, xy, (100, 100)), seen, seen, np.ones((5, 7), bool))
    assert scores is not None
    assert (scores.aj, scores.delta_avg, scores.oa) == (100, 100, 100)


def test_a_shift_by_one_frame_costs_what_the_hand_counts() -> None:
    # a point that moves 3 raster pixels per frame, seen in all 5 frames; the track lags one frame behind and is judged in frames 1 to 4
    true_xy = np.stack([3.0 * np.arange(5), np.zeros(5)], -1)[None] + 50
    lagging = np.concatenate([true_xy[:, :1], true_xy[:, :-1]], 1)
    always = np.ones((1, 5), bool)
    judged = without_queries(always, np.array([0]))
    scores = score_tracks(pixel_distance(lagging, true_xy, (256, 256)), always, always, judged)
    assert scores is not None
    # 3 px off: beyond 1 and 2 (nothing right: J = 0 of 4 + 4), within 4, 8 and 16 (J = 4 of 4)
    assert scores.jaccard == (0, 0, 100, 100, 100)
    assert (scores.aj, scores.delta_avg, scores.oa) == (60, 60, 100)
    # the same lag in the visibility of a point that appears in frame 2: frame 2 is missed, nothing else is wrong
    hidden = np.array([[False, False, True, True, True]])
    late = np.array([[False, False, False, True, True]])
    scores = score_tracks(np.zeros((1, 5)), late, hidden, judged)
    assert scores is not None
    assert scores.aj == pytest.approx(100 * 2 / 3)
    assert scores.oa == 75


def test_a_hidden_point_called_seen_is_a_false_positive_whatever_its_position() -> None:
    seen, true_seen = np.ones((1, 4), bool), np.array([[True, True, False, False]])
    scores = score_tracks(np.zeros((1, 4)), seen, true_seen, np.ones((1, 4), bool))
    assert scores is not None
    assert scores.aj == 50
    assert scores.delta_avg == 100


def test_nothing_to_judge_and_wrong_shapes() -> None:
    nothing = np.zeros((2, 3), bool)
    assert score_tracks(np.zeros((2, 3)), nothing, nothing, ~nothing) is None
    with pytest.raises(FourfoldError, match="expected the same"):
        score_tracks(np.zeros((2, 3)), nothing, nothing, np.ones((2, 4), bool))
    assert TAP_VID_PIXELS == (1, 2, 4, 8, 16)


def test_space_scores_count_thresholds_in_the_stated_unit() -> None:
    error = np.array([[0.0, 0.04, 0.07, 0.2, 9.0]])
    judged = np.array([[True, True, True, True, False]])
    scores = score_tracks3d(error, judged)
    assert scores is not None
    assert (scores.near_5, scores.near_10) == (50, 75)
    assert scores.epe == pytest.approx(0.0775)
    relative = score_tracks3d(error, judged, unit=2.0)
    assert relative is not None
    assert (relative.near_5, relative.near_10) == (75, 75)
    assert score_tracks3d(error, np.zeros_like(judged)) is None


def test_exact_paths_repeat_the_truth(tmp_path: Path) -> None:
    root = tmp_path / "clip"
    generate("casual", root, options=SyntheticOptions(frames=6, width=96, height=64, bare=True, supersample=1))
    scene = ExactScene.load(root)
    own = np.flatnonzero(scene.truth.visibility[0, :, 2])
    paths = scene.paths(0, 2, scene.truth.xy[0, own, 2])
    np.testing.assert_allclose(paths.xyz, scene.truth.xyz[own], atol=1e-9)
    np.testing.assert_allclose(paths.xy, scene.truth.xy[0, own], atol=1e-6)
    np.testing.assert_array_equal(paths.seen, scene.truth.visibility[0, own])
    rows, columns = np.mgrid[0:64, 0:96]
    pixels = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], 1)
    moving = scene.paths(0, 2, pixels, at=[2]).object_id.reshape(64, 96) > 0
    np.testing.assert_array_equal(moving, truth_image(root, "masks", 0)[2] > 0)
    capture_file = root / "capture.json"
    capture_file.write_text(capture_file.read_text().replace('"synthetic"', '"film"'))
    with pytest.raises(FourfoldError, match="no synthetic capture"):
        ExactScene.load(root)
