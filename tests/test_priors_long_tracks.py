"""Long tracks against textures whose motion is known in closed form, and against the exact paths of a synthetic capture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.evaluation.bench_priors_truth import ExactScene
from fourfold.priors.classical.long_tracks import LongTrackConfig, follow, long_tracks
from fourfold.priors.contracts import LongTracks

SIZE = (120, 160)


def _waves(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """A smooth texture, rich in every place, known everywhere."""
    random = np.random.default_rng(0)
    value = np.zeros_like(x)
    for angle, length in zip(random.uniform(0, np.pi, 40), random.uniform(6, 25, 40), strict=True):
        value += np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / length + random.uniform(0, 7))
    return np.clip(128 + 14 * value, 0, 255)


def _moved(place: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """Where pixels (..., 2) of frame 0 are in frame `step`: a turn about the middle, a little zoom and a drift."""
    angle, scale = 0.01 * step, 1 + 0.004 * step
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (place - (80, 60)) @ turn.T + (80 + 1.3 * step, 60 - 0.7 * step)


def _film(frames: int) -> list[NDArray[np.uint8]]:
    """Frames in which the texture moves by `_moved`."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(float)
    images = []
    for step in range(frames):
        origin, axis_x, axis_y = (_moved(np.array(p, float), step) for p in ((0, 0), (1, 0), (0, 1)))
        back = np.linalg.inv(np.stack([axis_x - origin, axis_y - origin], 1))
        source = (np.stack([x, y], -1) - origin) @ back.T
        images.append(np.round(_waves(source[..., 0], source[..., 1])).astype(np.uint8))
    return images


def _unmoved(place: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """Pixels of frame 0 that `_moved` brings to `place` (N, 2) at `step`."""
    origin, axis_x, axis_y = (_moved(np.array(p, float), step) for p in ((0, 0), (1, 0), (0, 1)))
    return (place - origin) @ np.linalg.inv(np.stack([axis_x - origin, axis_y - origin], 1)).T


def test_tracks_follow_a_texture_that_turns_and_grows() -> None:
    track, step, xy = follow(iter(_film(12)), LongTrackConfig())
    first = np.searchsorted(track, np.arange(track.max() + 1))
    start = np.array([_unmoved(xy[i][None].astype(float), int(step[i]))[0] for i in first])
    truth = np.concatenate([_moved(start[track[i]][None], int(step[i])) for i in range(len(track))])
    error = np.linalg.norm(xy - truth, axis=1)
    age = step - step[first][track]
    assert (age == 11).sum() > 60
    assert np.median(error[age >= 8]) < 0.3
    assert np.quantile(error[age >= 8], 0.95) < 0.8
    # every cell of every frame that shows the texture holds a track
    cells = {(int(s), int(x) // 10, int(y) // 10) for s, (x, y) in zip(step, xy, strict=True)}
    assert len([c for c in cells if 1 <= c[1] < 15 and 1 <= c[2] < 11]) > 0.95 * 12 * 14 * 10


def test_a_covered_track_ends_and_a_new_one_starts() -> None:
    films = _film(1) * 6
    covered = [f.copy() for f in films]
    for frame in covered[2:4]:
        frame[:, 60:100] = cv2.flip(frame[:, 60:100], 0)
    track, step, xy = follow(iter(covered), LongTrackConfig())
    last = np.full(track.max() + 1, -1)
    np.maximum.at(last, track, step)
    began = np.full(track.max() + 1, 9)
    np.minimum.at(began, track, step)
    behind = np.unique(track[(step == 1) & (np.abs(xy[:, 0] - 80) < 10)])
    beside = np.unique(track[(step == 1) & (np.abs(xy[:, 0] - 20) < 10)])
    assert len(behind) > 8
    assert (last[behind] == 1).mean() > 0.8
    assert (last[beside] == 5).all()
    again = np.unique(track[(step == 4) & (np.abs(xy[:, 0] - 80) < 10)])
    assert (began[again] == 4).mean() > 0.8


def test_threads_change_nothing() -> None:
    film = _film(5)
    results = []
    try:
        for threads in (1, 2, 7):
            cv2.setNumThreads(threads)
            results.append(follow(iter(film), LongTrackConfig()))
    finally:
        cv2.setNumThreads(-1)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracks") / "clip"
    generate("casual", folder, seed=3, options=SyntheticOptions(frames=24, width=192, height=108, supersample=1))
    return folder


@pytest.fixture(scope="module")
def found(clip: Path) -> LongTracks:
    return long_tracks(Capture.load(clip))


def test_tracks_of_a_synthetic_capture_are_where_the_truth_is(clip: Path, found: LongTracks) -> None:
    capture, scene = Capture.load(clip), ExactScene.load(clip)
    found.check(capture.sizes, capture.times)
    first = np.searchsorted(found.track, np.arange(len(found.view)))
    errors, moved = [], []
    for time in (0, 4):
        own = np.flatnonzero(found.time[first] == time)
        paths = scene.paths(0, time, found.xy[first[own]])
        rows = np.flatnonzero(np.isin(found.track, own) & (found.time == time + 4))
        which = np.searchsorted(own, found.track[rows])
        still = paths.object_id[which] == 0
        errors.append(np.linalg.norm(found.xy[rows] - paths.xy[which, time + 4], axis=1)[still])
        moved.append(np.linalg.norm(found.xy[rows] - found.xy[first[found.track[rows]]], axis=1)[still])
    error = np.concatenate(errors)
    assert len(error) > 200
    assert np.median(error) < 0.25 < 0.1 * np.median(np.concatenate(moved))
    assert (error < 0.5).mean() > 0.85


def test_missing_frames_are_stepped_over(clip: Path) -> None:
    capture = Capture.load(clip)
    present = capture.present.copy()
    present[0, [2, 3, 7]] = False
    tracks = long_tracks(replace(capture, present=present))
    assert not np.isin(tracks.time[tracks.view[tracks.track] == 0], [2, 3, 7]).any()
    assert (np.diff(tracks.track) >= 0).all()
    assert (np.diff(tracks.time)[np.diff(tracks.track) == 0] > 0).all()
    both = np.intersect1d(tracks.track[tracks.time == 1], tracks.track[tracks.time == 4])
    assert len(both) > 100
