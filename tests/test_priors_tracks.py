"""2D tracks and their lifting against a scene whose motion is known in closed form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analytic_scene import AnalyticScene, make_scene, project, surface_points
from fourfold.errors import FourfoldError
from fourfold.geometry.spacing import neighbour_spacing
from fourfold.priors.contracts import Depth, Masks, Provenance, Tracks2D
from fourfold.priors.tracking.flow import estimate_flow
from fourfold.priors.tracking.lift import fill_between, lift_tracks
from fourfold.priors.tracking.track_local import LocalConfig, local_motion, neighbourhood
from fourfold.priors.tracking.track_step import MatchConfig, agrees, match, patches, sample
from fourfold.priors.tracking.track_template import TemplateConfig, align, alike, make_templates
from fourfold.priors.tracking.tracks import TrackConfig, track_points


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> AnalyticScene:
    return make_scene(tmp_path_factory.mktemp("scene"), times=10, width=160, height=120, hold=5)


@pytest.fixture(scope="module")
def tracks(scene: AnalyticScene) -> Tracks2D:
    return track_points(scene.capture, scene.masks, estimate_flow(scene.capture), config=TrackConfig(queries=3))


def _truth(scene: AnalyticScene, tracks: Tracks2D) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    xy, seen = np.zeros(tracks.xy.shape), np.zeros(tracks.xy.shape[:2], bool)
    moving = np.zeros(len(tracks.xy), bool)
    for query in np.unique(tracks.query_time):
        own = np.flatnonzero(tracks.query_time == query)
        world, moving[own] = surface_points(scene, tracks.xy[own, query], int(query))
        xy[own], seen[own] = project(scene, world)
    return xy, seen, moving


def test_tracks_follow_the_surface(scene: AnalyticScene, tracks: Tracks2D) -> None:
    xy, seen, moving = _truth(scene, tracks)
    train = scene.capture.train[0]
    error = np.linalg.norm(tracks.xy - xy, axis=2)
    visible = tracks.visibility > 0.5
    for part, median, share in ((moving, 0.5, 0.85), (~moving, 0.25, 0.93)):
        both = (visible & seen & train)[part]
        assert part.sum() > 150
        assert np.median(error[part][both]) < median
        assert (error[part][both] < 2).mean() > share
        assert ((visible == seen) & train)[part].sum() / (part.sum() * train.sum()) > 0.88


def test_moving_points_are_dense_and_held_out_moments_hidden(scene: AnalyticScene, tracks: Tracks2D) -> None:
    query = int(tracks.query_time[0])
    area = scene.moving[query].sum()
    started = tracks.xy[tracks.query_time == query, query]
    assert scene.moving[query][started[:, 1].astype(int), started[:, 0].astype(int)].sum() > area / 16 * 0.6
    assert (tracks.visibility[:, scene.capture.heldout[0]] == 0).all()
    assert np.isfinite(tracks.xy).all()


def test_held_out_frames_are_not_read(scene: AnalyticScene, tracks: Tracks2D, tmp_path: Path) -> None:
    frames = np.array(np.load(scene.capture.root / "frames_000.npy"))
    frames[scene.capture.heldout[0]] = 0
    np.save(tmp_path / "frames_000.npy", frames)
    copy = replace(scene.capture, root=tmp_path)
    again = track_points(copy, scene.masks, estimate_flow(copy), TrackConfig(queries=3))
    np.testing.assert_array_equal(again.xy, tracks.xy)


def test_one_frame_gives_no_tracks_and_says_so(scene: AnalyticScene) -> None:
    train = np.zeros_like(scene.capture.train)
    train[0, 3] = True
    part = replace(scene.capture, train=train)
    tracks = track_points(part, scene.masks, estimate_flow(part))
    assert tracks.xy.shape == (0, scene.capture.times, 2)
    assert "could be tracked" in tracks.provenance.notes[0]


def test_a_hidden_point_is_found_again(tmp_path: Path, scene: AnalyticScene) -> None:
    random = np.random.default_rng(0)
    wall = random.integers(0, 255, (30, 40, 3), np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    frames = np.stack([wall] * 9)
    for index in range(2, 9):
        frames[index, :, 20 * index - 30 : 20 * index - 10] = 128
    np.save(tmp_path / "frames_000.npy", frames)
    band = np.full((9, 120, 160), -1, np.int8)
    for index in range(2, 9):
        band[index, :, 20 * index - 30 : 20 * index - 10] = 1
    keep = np.ones((1, 9), bool)
    capture = replace(
        scene.capture, root=tmp_path, K=scene.capture.K[:, :9], world_to_camera=scene.capture.world_to_camera[:, :9],
        timestamps=scene.capture.timestamps[:9], present=keep, train=keep, heldout=~keep,
    )  # fmt: skip
    tracks = track_points(capture, Masks(Provenance("truth"), (band,)), estimate_flow(capture), TrackConfig(queries=1, least_visible=0.5))
    # tracks start in the middle frame, 4; the band covers columns 90 to 110 in frame 6
    covered = (np.abs(tracks.xy[:, 4, 0] - 100) < 7) & (tracks.visibility[:, 4] > 0)
    assert covered.sum() >= 3
    assert (tracks.visibility[covered, 6] == 0).all()
    assert tracks.visibility[covered, 8].mean() > 0.8
    visible = covered & (tracks.visibility[:, 8] > 0)
    assert np.abs(tracks.xy[visible, 8] - tracks.xy[visible, 4]).max() < 0.5


def _texture(seed: int = 2) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(np.random.default_rng(seed).integers(0, 255, (80, 100)).astype(np.float32), (0, 0), 2) * 3 - 250


def test_templates_are_found_under_a_known_affine_change_and_other_light() -> None:
    import cv2

    first = _texture()
    change = np.array([[0.9, 0.25, 6.0], [-0.2, 1.1, 4.0]], np.float32)
    # pixel centres at +0.5: cv2 moves indices, so the shift differs by what the matrix does to half a pixel
    index = change.copy()
    index[:, 2] += change[:, :2] @ np.float32([0.5, 0.5]) - 0.5
    second = 0.7 * cv2.warpAffine(first, index, (100, 80), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT) + 30
    points = np.random.default_rng(3).uniform(25, 55, (40, 2)).astype(np.float32)
    group, label = np.zeros(40, np.int32), np.zeros((80, 100), np.uint8)
    config = TemplateConfig(noise=0.5)
    templates = make_templates(first, label, points, group, config)
    truth = points @ change[:, :2].T + change[:, 2]
    shape = np.tile(change[:, :2], (40, 1, 1))
    start = (truth + np.random.default_rng(4).uniform(-1, 1, (40, 2))).astype(np.float32)
    found, score = align(second, templates, start, shape, start, config)
    assert np.median(np.linalg.norm(found - truth, axis=1)) < 0.1
    assert np.quantile(np.linalg.norm(found - truth, axis=1), 0.9) < 0.2
    assert score.min() > 0.95
    assert np.median(alike(second, templates, start + 15, shape)) < 0.5


def test_what_lies_behind_a_masked_patch_does_not_pull() -> None:
    front, back = _texture(5), _texture(6)
    label = np.zeros((80, 100), np.uint8)
    label[:, 48:53] = 1
    first = np.where(label == 1, front, back)
    # the strip stands still, what lies behind it moves by a pixel and a half
    second = np.where(label == 1, front, (np.roll(back, 1, axis=1) + np.roll(back, 2, axis=1)) / 2).astype(np.float32)
    points = np.stack([np.full(12, 50.5), np.linspace(15, 65, 12)], 1).astype(np.float32)
    group, config = np.ones(12, np.int32), TemplateConfig()
    shape = np.tile(np.eye(2, dtype=np.float32), (12, 1, 1))
    masked = make_templates(first.astype(np.float32), label, points, group, config)
    found, score = align(second, masked, points, shape, points, config)
    everything = make_templates(first.astype(np.float32), np.ones_like(label), points, group, config)
    pulled, worse = align(second, everything, points, shape, points, config)
    error, other = (np.linalg.norm(xy - points, axis=1) for xy in (found, pulled))
    assert np.median(error) < 0.5 * np.median(other)
    assert score.min() > 0.99
    assert np.median(worse) < score.min()


def test_a_flat_patch_stays_where_it_is_predicted() -> None:
    image = np.full((40, 40), 90, np.float32)
    points = np.array([[20.5, 20.5]], np.float32)
    templates = make_templates(image, np.zeros((40, 40), np.uint8), points, np.zeros(1, np.int32), TemplateConfig())
    found, _ = align(image, templates, points + 1, np.eye(2, dtype=np.float32)[None], points + 1, TemplateConfig())
    np.testing.assert_allclose(found, points + 1, atol=1e-4)


def test_neighbours_tell_an_affine_motion_and_outvote_strays() -> None:
    random = np.random.default_rng(1)
    points = random.uniform(0, 60, (80, 2)).astype(np.float32)
    group = (np.arange(80) % 2).astype(np.int32)
    motion = np.array([[[1.1, 0.1], [-0.05, 0.95]], [[0.9, 0], [0.2, 1.0]]], np.float32)
    truth = np.einsum("nij,nj->ni", motion[group], points) + np.float32([3, -2]) * group[:, None]
    xy = truth.astype(np.float32)
    stray = random.choice(80, 8, replace=False)
    xy[stray] += np.float32([25, 15])
    trust = np.ones(80, np.float32)
    trust[stray[:4]] = 0
    config = LocalConfig(stiff=1e-4)
    near = neighbourhood(points, group, config)
    assert (group[near.index] == group[:, None]).all()
    start = np.tile(np.eye(2, dtype=np.float32), (80, 1, 1))
    for _ in range(2):
        local_motion(near, xy, trust, start, 1.0, config)
    predicted, shape, enough = local_motion(near, xy, trust, start, 1.0, config)
    assert enough.all()
    good = np.setdiff1d(np.arange(80), stray)
    assert np.quantile(np.linalg.norm(predicted - truth, axis=1)[good], 0.95) < 0.1
    assert np.median(np.abs(shape - motion[group]).max(axis=(1, 2))) < 0.02
    assert np.median(np.linalg.norm(predicted - truth, axis=1)[stray[:4]]) < 0.1


def test_matching_undoes_a_known_shift() -> None:
    random = np.random.default_rng(2)
    import cv2

    first = cv2.GaussianBlur(random.integers(0, 255, (80, 100)).astype(np.uint8), (0, 0), 2)
    shift = np.float32([[1, 0, 2.3], [0, 1, -1.6]])
    second = cv2.warpAffine(first, shift, (100, 80), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    points = random.uniform(20, 60, (40, 2)).astype(np.float32)
    found, error = match(first, second, points, points, 2, MatchConfig())
    np.testing.assert_allclose(found - points, np.tile([2.3, -1.6], (40, 1)), atol=0.1)
    assert error.max() < 0.2


def test_sampling_uses_pixel_centres_at_half() -> None:
    x, y = np.meshgrid(np.arange(12) + 0.5, np.arange(9) + 0.5)
    points = np.array([[3.2, 4.9], [10.0, 7.5]], np.float32)
    np.testing.assert_allclose(sample(2 * x + 3 * y, points), 2 * points[:, 0] + 3 * points[:, 1], atol=0.02)
    ramp = (np.arange(12 * 9).reshape(9, 12) % 251).astype(np.uint8)
    centre = patches(ramp, np.array([[6.5, 4.5]], np.float32), 3)[0]
    expected = ramp[3:6, 5:8].astype(np.float32).ravel()
    expected -= expected.mean()
    np.testing.assert_allclose(centre, expected / np.linalg.norm(expected), atol=1e-3)


def test_a_motion_unlike_its_neighbours_is_refused() -> None:
    points = np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0)), axis=-1).reshape(-1, 2).astype(np.float32)
    motion = np.tile(np.float32([3, 1]), (25, 1))
    motion[7] = [9, -4]
    expected = np.ones(25, bool)
    expected[7] = False
    np.testing.assert_array_equal(agrees(points, motion, np.zeros(25, np.int32), MatchConfig()), expected)


def _exact(scene: AnalyticScene) -> tuple[Tracks2D, Depth, np.ndarray]:
    query = scene.capture.times // 2
    rows, columns = np.nonzero(scene.moving[query])
    pixel = np.stack([columns + 0.5, rows + 0.5], axis=1)[::7]
    world, _ = surface_points(scene, pixel, query)
    xy, seen = project(scene, world)
    strength = seen.astype(np.float16)
    many = np.zeros(len(xy), np.int32)
    tracks = Tracks2D(Provenance("truth"), xy.astype(np.float32), strength, strength, many, many + query)
    return tracks, Depth(Provenance("truth"), (scene.depth.astype(np.float32),), (np.ones(scene.depth.shape, np.float16),)), world


def test_lifting_exact_tracks_gives_the_exact_points(scene: AnalyticScene) -> None:
    tracks, depth, world = _exact(scene)
    lifted = lift_tracks(tracks, depth, scene.masks, scene.capture)
    visible = lifted.visibility > 0
    near = np.linalg.norm(lifted.xyz[:, None, scene.capture.times // 2] - world[None, :, scene.capture.times // 2], axis=2)
    error = np.linalg.norm(lifted.xyz - world[near.argmin(axis=1)], axis=2)
    assert visible.sum() > 0.5 * visible.size * 0.6
    assert np.median(error[visible]) < 2e-3
    assert np.quantile(error[visible], 0.95) < 0.05
    assert (lifted.native == 0).all()
    assert np.isfinite(lifted.xyz).all()
    assert (lifted.visibility[:, scene.capture.heldout[0]] == 0).all()


def test_lifting_demands_the_mask_and_known_depth(scene: AnalyticScene) -> None:
    tracks, depth, _ = _exact(scene)
    nowhere = Masks(Provenance("none"), (np.full(scene.moving.shape, -1, np.int8),))
    assert len(lift_tracks(tracks, depth, nowhere, scene.capture).xyz) == 0
    unknown = Depth(depth.provenance, (np.zeros_like(depth.depth[0]),), depth.confidence)
    assert len(lift_tracks(tracks, unknown, scene.masks, scene.capture).xyz) == 0
    half = replace(tracks, confidence=np.full_like(tracks.confidence, 0.4))
    assert len(lift_tracks(half, depth, scene.masks, scene.capture).xyz) == 0


def test_lifting_refuses_tracks_of_another_capture(scene: AnalyticScene) -> None:
    tracks, depth, _ = _exact(scene)
    with pytest.raises(FourfoldError, match="do not fit"):
        lift_tracks(replace(tracks, xy=tracks.xy[:, :-1]), depth, scene.masks, scene.capture)


def test_gaps_are_filled_linearly_and_ends_held() -> None:
    path = np.array([[[0.0, 0, 0], [9, 9, 9], [2, 4, 6], [9, 9, 9]]])
    filled = fill_between(path, np.array([[True, False, True, False]]))
    np.testing.assert_allclose(filled[0], [[0, 0, 0], [1, 2, 3], [2, 4, 6], [2, 4, 6]])
    np.testing.assert_allclose(neighbour_spacing(np.array([[0.0, 0, 0], [1, 0, 0], [3, 0, 0]]), 1), [1, 1, 2])
