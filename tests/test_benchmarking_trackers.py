"""Tracker baselines against exact answers: perfect tracks score 100 and 0, a one-frame shift as computed by hand, gaps are straight lines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fourfold.benchmarking.trackers import Answers, answered, bench_trackers, figures, lift, of_space
from fourfold.capture.capture import Capture
from fourfold.capture.synthetic import SyntheticOptions, Truth, generate, truth_image
from fourfold.cli import main
from fourfold.priors.contracts import Depth, Provenance, Tracks2D, Tracks3D

MADE = Provenance("test")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Capture, Truth]:
    folder = tmp_path_factory.mktemp("trackers") / "casual"
    generate("casual", folder, options=SyntheticOptions(frames=9, width=96, height=64, supersample=1))
    return folder, Capture.load(folder), Truth.load(folder)


def _space(truth: Truth, shift: int = 0) -> Tracks3D:
    count, times = truth.xyz.shape[:2]
    moved = truth.xyz[:, np.clip(np.arange(times) + shift, 0, times - 1)]
    seen = truth.visibility[0].astype(np.float16)
    return Tracks3D(
        MADE, moved.astype(np.float32), seen, seen, truth.color, np.ones(count, np.float32), np.zeros(count, np.int32), np.ones(count, np.uint8)
    )


def test_perfect_tracks(scene) -> None:
    folder, capture, truth = scene
    found = figures(of_space(_space(truth), capture, 0), capture, folder)
    assert found["aj"] == found["delta_avg"] == found["oa"] == found["delta_3d_05"] == 100.0
    assert found["epe_3d"] < 1e-5 and found["unanswered"] == 0


def test_one_frame_late_is_punished_by_the_motion_of_one_frame(scene) -> None:
    folder, capture, truth = scene
    late = _space(truth, 1)
    # Answers are anchored at the query: the error is how much farther the point moved, one frame later, than from query to query + 1.
    found = figures(of_space(late, capture, 0), capture, folder)
    errors = []
    for query in sorted({round(q * (capture.times - 1)) for q in (0.25, 0.5, 0.75)}):
        rows = np.flatnonzero(truth.visibility[0, :, query])
        perfect = answered(of_space(late, capture, 0), capture, 0, query, truth.xy[0, rows, query])
        away = np.linalg.norm(perfect.xyz - truth.xyz[rows], axis=-1)
        judged = truth.visibility[0, rows] & (np.arange(capture.times) != query)
        errors.append(away[judged])
    assert found["epe_3d"] == pytest.approx(np.concatenate(errors).mean(), rel=1e-6)
    assert found["epe_3d"] > 1e-3 and found["delta_avg"] < 100


def test_lifting_puts_a_track_on_its_surface_and_bridges_gaps(scene) -> None:
    folder, capture, truth = scene
    points = np.flatnonzero(truth.visibility[0].all(axis=1))[:20]
    depth = Depth(MADE, tuple(np.asarray(truth_image(folder, "depth", v)) for v in range(capture.views)), ())
    seen = np.ones((len(points), capture.times), np.float16)
    seen[:, 4] = 0
    row = np.zeros(len(points), np.int32)
    tracks = Tracks2D(MADE, truth.xy[0, points].astype(np.float32), seen, seen, row, row)
    found = lift(tracks, depth, capture, 0)
    exact = truth.xyz[points]
    error = np.linalg.norm(found.xyz - exact, axis=-1)
    assert np.median(error[:, :4]) < 0.02  # within a pixel's footprint on slanted surfaces
    weight = (capture.timestamps[4] - capture.timestamps[3]) / (capture.timestamps[5] - capture.timestamps[3])
    np.testing.assert_allclose(found.xyz[:, 4], found.xyz[:, 3] * (1 - weight) + found.xyz[:, 5] * weight, atol=1e-9)
    nothing = lift(replace(tracks, visibility=np.zeros_like(seen)), depth, capture, 0)
    assert np.isnan(nothing.xyz).all() and not nothing.seen.any()


def test_points_that_nobody_tracks_miss_every_threshold(scene) -> None:
    folder, capture, truth = scene
    few = of_space(_space(truth), capture, 0)
    none = Answers(few.xy[:0], few.xyz[:0], few.seen[:0])
    asked = answered(none, capture, 0, 3, truth.xy[0, :5, 3])
    assert not asked.seen.any() and np.isnan(asked.xyz).all()
    left = few.xyz[:, 0, 0] < np.median(few.xyz[:, 0, 0])
    half = figures(Answers(few.xy[left], few.xyz[left], few.seen[left]), capture, folder)
    assert 5 < half["unanswered"] < 95
    assert half["delta_3d_05"] <= 100 - half["unanswered"] + 1e-9


def test_the_command_scores_every_tracker_and_a_run(casual_capture, finished_run, tmp_path, capsys) -> None:
    result = bench_trackers(casual_capture, tmp_path / "estimates", (finished_run,))
    sources = {row["source"] for row in result["rows"]}
    assert sources == {"tracker", "scene"}
    assert all(set(row) == {"tracker", "depth", "source", "metrics"} for row in result["rows"])
    assert any(row["depth"] for row in result["rows"])
    assert main(["bench", "trackers", str(tmp_path), "--json"]) == 2
    assert "holds no synthetic truth" in capsys.readouterr().err
