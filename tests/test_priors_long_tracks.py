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
from fourfold.kernels.library import load
from fourfold.priors.contracts import LongTracks
from fourfold.priors.tracking.long_track_links import Followed, LinkConfig, drifted
from fourfold.priors.tracking.long_track_sightings import Sightings, sightings
from fourfold.priors.tracking.long_tracks import LongTrackConfig, follow, long_tracks
from fourfold.priors.tracking.track_anchor import AnchorConfig, align, align_reference, anchor, settle, smooth
from fourfold.render import cpu

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
    assert np.median(error[age >= 8]) < 0.03
    assert np.quantile(error[age >= 8], 0.95) < 0.4
    # every cell of every frame that shows the texture holds a track
    cells = {(int(s), int(x) // 10, int(y) // 10) for s, (x, y) in zip(step, xy, strict=True)}
    assert len([c for c in cells if 1 <= c[1] < 15 and 1 <= c[2] < 11]) > 0.95 * 12 * 14 * 10


def test_an_anchor_is_found_under_a_known_change_of_shape_and_light() -> None:
    config, place = AnchorConfig(), np.stack(np.meshgrid(np.arange(30, 130, 9.0), np.arange(30, 90, 9.0)), -1).reshape(-1, 2)
    first, last = (smooth(f, config) for f in (_film(1)[0], _film(9)[8]))
    anchors = anchor(first, place.astype(np.float32), config)
    truth = _moved(place, 8)
    start = truth + np.random.default_rng(2).uniform(-0.7, 0.7, truth.shape)
    found, seen, correlation = align(0.7 * last + 30, start.astype(np.float32), anchors, replace(config, steps=8))
    true_shape = np.stack(
        [_moved(np.array([81.0, 60]), 8) - _moved(np.array([80.0, 60]), 8), _moved(np.array([80.0, 61]), 8) - _moved(np.array([80.0, 60]), 8)], 1
    )
    error = np.linalg.norm(found - truth, axis=1)
    assert np.median(error) < 0.03
    assert np.quantile(error, 0.9) < 0.1
    assert np.median(np.abs(seen.shape - true_shape).max(axis=(1, 2))) < 0.01
    assert np.median(correlation) > 0.999


def test_a_patch_that_shows_something_else_is_not_there() -> None:
    config, place = AnchorConfig(), np.array([[40.0, 60], [120, 60]], np.float32)
    first = smooth(_film(1)[0], config)
    other = first.copy()
    other[:, :80] = np.roll(first[:, :80], 17, axis=0)
    points, _, there = settle(other, place, anchor(first, place, config), np.arange(len(place)), config)
    assert there.tolist() == [False, True]
    np.testing.assert_allclose(points[1], place[1], atol=1e-3)


def test_a_covered_point_is_found_again_where_it_truly_is() -> None:
    film = _film(12)
    cover = np.random.default_rng(5).integers(0, 255, (SIZE[0], 40), np.uint8)
    for frame in film[5:8]:
        frame[:, 60:100] = cover
    track, step, xy = follow(iter(film), LongTrackConfig())
    gap = np.flatnonzero((np.diff(track) == 0) & (np.diff(step) > 1)) + 1
    assert len(gap) > 15
    assert (step[gap] >= 8).mean() > 0.9
    first = np.searchsorted(track, track[gap])
    truth = np.array([_moved(_unmoved(xy[i][None].astype(float), int(step[i])), int(step[j]))[0] for i, j in zip(first, gap, strict=True)])
    error = np.linalg.norm(xy[gap] - truth, axis=1)
    assert (error < 0.5).mean() >= 0.95
    # of those that were behind the cover when it came, well inside it, at least half come back
    before = np.unique(track[(step == 4) & (np.abs(xy[:, 0] - 80) < 12)])
    lived = before[np.bincount(track[step <= 4])[before] >= 4]
    assert np.isin(lived, track[gap]).mean() > 0.5


def test_a_point_covered_for_long_is_another_track() -> None:
    film = _film(1) * 16
    covered = [f.copy() for f in film]
    for frame in covered[4:14]:
        frame[:, 60:100] = np.random.default_rng(5).integers(0, 255, (SIZE[0], 40), np.uint8)
    track, step, xy = follow(iter(covered), LongTrackConfig())
    behind = np.unique(track[(step == 3) & (np.abs(xy[:, 0] - 80) < 10)])
    beside = np.unique(track[(step == 3) & (np.abs(xy[:, 0] - 20) < 10)])
    again = np.unique(track[(step == 15) & (np.abs(xy[:, 0] - 80) < 10)])
    assert len(behind) > 8
    assert np.isin(beside, track[step == 15]).all()
    assert not np.isin(behind, again).any()


def test_hidden_points_move_as_their_likes_do() -> None:
    random = np.random.default_rng(4)
    place = random.uniform(0, 100, (200, 2)).astype(np.float32)
    motion = np.where(np.arange(200)[:, None] % 2, np.float32([3, 1]), np.float32([-4, 0]))
    none = anchor(np.zeros((20, 20), np.float32), np.zeros((200, 2), np.float32), AnchorConfig())
    live = replace(Followed.begun(np.arange(200, dtype=np.int32), 7, place + motion, none), motion=motion)
    start = np.float32([[50, 50], [40, 60]])
    hidden = replace(Followed.begun(np.array([300, 301], np.int32), 6, start, none.rows(np.arange(2))), motion=np.float32([[2.8, 0.9], [-3.7, 0.2]]))
    np.testing.assert_allclose(drifted(hidden, live, LinkConfig()).xy - start, [[3, 1], [-4, 0]], atol=0.1)


def test_threads_change_nothing() -> None:
    film = _film(9)
    film[5][:, 60:100] = 0  # so that points are lost and found
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
    assert np.median(error) < 0.1 < 0.05 * np.median(np.concatenate(moved))
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


def _sighting_errors(scene: ExactScene, tracks: LongTracks, seen: Sightings, here: tuple[int, int], there: tuple[int, int]) -> NDArray[np.float64]:
    """Pixels between where the tracks of the image `here` are seen in `there` and where the surface they followed here truly is."""
    rows = np.flatnonzero((tracks.view[tracks.track] == here[0]) & (tracks.time == here[1]))
    own = np.flatnonzero((seen.view == there[0]) & (seen.time == there[1]))
    place = tracks.xy[rows[np.searchsorted(tracks.track[rows], seen.track[own])]]
    owner, local = scene.first_hits(*here, place)
    truth, _ = scene.observe(*there, scene.places(owner, local, [there[1]])[:, 0])
    return np.linalg.norm(seen.xy[own] - truth, axis=1)


@pytest.mark.parametrize("there", [(0, 14), (1, 6)], ids=["later", "another camera"])
def test_tracks_are_seen_again_where_the_truth_is(clip: Path, found: LongTracks, there: tuple[int, int]) -> None:
    capture, scene, here = Capture.load(clip), ExactScene.load(clip), (0, 6)
    seen = sightings(capture, found, np.array([[*here, *there]], np.int32))
    error = _sighting_errors(scene, found, seen, here, there)
    assert len(error) > 60
    assert np.median(error) < 0.1
    assert (error < 0.5).mean() > 0.9
    followed = found.track[(found.view[found.track] == there[0]) & (found.time == there[1])]
    assert not np.isin(seen.track[(seen.view == there[0]) & (seen.time == there[1])], followed).any()


def test_nothing_is_seen_again_in_an_image_of_something_else(clip: Path, found: LongTracks, tmp_path: Path) -> None:
    capture = Capture.load(clip)
    frames = np.array(np.load(clip / "frames_000.npy"))
    frames[15] = np.random.default_rng(0).integers(0, 255, frames[15].shape, np.uint8)
    np.save(tmp_path / "frames_000.npy", frames)
    assert not len(sightings(replace(capture, root=tmp_path), found, np.array([[0, 6, 0, 15]], np.int32)).track)


@pytest.mark.skipif(load() is None, reason="no compiled kernels here")
def test_patches_are_found_where_the_twin_finds_them_on_any_number_of_threads() -> None:
    random = np.random.default_rng(2)
    image = smooth(cv2.resize(random.integers(0, 255, (40, 60), np.uint8), (240, 160), interpolation=cv2.INTER_CUBIC), AnchorConfig())
    points = random.uniform(-2, 165, (150, 2)).astype(np.float32)  # some of them at and beyond the border
    anchors, start, found, before = anchor(image, points, AnchorConfig()), points + np.float32(0.8), [], cpu.get_threads()
    for threads in (1, 2, 7):
        cpu.set_threads(threads)
        xy, seen, alike = align(image, start, anchors, AnchorConfig())
        found.append((xy.tobytes(), seen.shape.tobytes(), alike.tobytes()))
    cpu.set_threads(before)
    assert found[0] == found[1] == found[2]
    other, shape, likeness = align_reference(image, start, anchors, AnchorConfig())
    inside = ((points > 20) & (points < 130)).all(1)
    assert inside.sum() > 50 and np.median(np.linalg.norm(xy - points, axis=1)[inside]) < 0.02
    # OpenCV, which the twin asks, places samples to 1/32 pixel
    np.testing.assert_allclose(xy[inside], other[inside], atol=0.02)
    np.testing.assert_allclose(seen.shape[inside], shape[inside], atol=0.01)
    np.testing.assert_allclose(alike[inside], likeness[inside], atol=0.002)


@pytest.mark.skipif(load() is None, reason="no compiled kernels here")
def test_a_place_that_is_no_number_harms_nobody() -> None:
    image = smooth(np.random.default_rng(3).integers(0, 255, (60, 80), np.uint8), AnchorConfig())
    points = np.array([[40, 30], [20, 20]], np.float32)
    anchors = anchor(image, points, AnchorConfig())
    alone, *_ = align(image, points[:1] + np.float32(0.5), anchors.rows(np.array([0])), AnchorConfig())
    xy, _, alike = align(image, np.array([[40.5, 30.5], [np.nan, 20]], np.float32), anchors, AnchorConfig())
    assert np.array_equal(xy[0], alone[0]) and not alike[1] > 0.9
