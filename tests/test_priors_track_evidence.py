"""Tracks against a world at rest: exact projections of resting and moving points, and votes against their formula."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Cameras, LongTracks, Provenance
from fourfold.priors.masks.static_points import Observations, View, percentile_by_track, static_points
from fourfold.priors.masks.track_evidence import judge_tracks, view_suspicion
from fourfold.priors.masks.track_vote import VoteNumbers, vote

WIDTH, HEIGHT, TIMES, FOCAL = 320, 180, 12, 250.0
K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1.0]])


def _poses(travel: float, turn: float = 0.0) -> np.ndarray:
    poses = np.tile(np.eye(4), (TIMES, 1, 1))
    for t in range(TIMES):
        poses[t, :3, :3] = cv2.Rodrigues(np.array([0.0, turn * t, 0.1 * turn * t]))[0]
        poses[t, :3, 3] = -poses[t, :3, :3] @ np.array([travel * t, 0.1 * travel * np.sin(t), 0.3 * travel * t])
    return poses


def _seen(points: np.ndarray, poses: np.ndarray, noise: float = 0.0) -> Observations:
    """Exact projections of points (P, T, 3), plus noise."""
    camera = np.einsum("tij,ptj->pti", poses[:, :3, :3], points) + poses[None, :, :3, 3]
    assert (camera[..., 2] > 0).all()
    xy = camera[..., :2] / camera[..., 2:] * FOCAL + K[:2, 2]
    xy += noise * np.random.default_rng(1).normal(size=xy.shape)
    count = len(points)
    return Observations(xy.reshape(-1, 2), np.tile(np.arange(TIMES), count), np.repeat(np.arange(count), TIMES), count)


def _still(count: int, depth: tuple[float, float], seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    z = random.uniform(*depth, count)
    points = np.stack([random.uniform(-0.4, 0.4, count) * z, random.uniform(-0.25, 0.25, count) * z, z], 1)
    return np.repeat(points[:, None], TIMES, 1)


def _view(poses: np.ndarray) -> View:
    return View(np.broadcast_to(K, (TIMES, 3, 3)), poses, WIDTH)


def test_resting_points_return_exactly() -> None:
    poses, points = _poses(0.1, 0.01), _still(50, (3, 9))
    seen = _seen(points, poses)
    found = static_points(_view(poses), seen, np.ones(len(seen.time), bool))
    assert np.abs((found.origin + found.direction / found.rho[:, None]) - points[:, 0]).max() < 1e-3
    assert np.nanmax(found.error) < 1e-2


def test_a_bad_observation_is_left_out_of_the_fit() -> None:
    poses, points = _poses(0.1), _still(30, (3, 9))
    seen = _seen(points, poses)
    seen.xy[5::TIMES] += 25.0
    found = static_points(_view(poses), seen, np.ones(len(seen.time), bool))
    assert np.abs((found.origin + found.direction / found.rho[:, None]) - points[:, 0]).max() < 0.05
    assert np.allclose(found.error[5::TIMES], 25 * np.sqrt(2), atol=1.0)


def test_far_points_are_directions_and_a_turned_camera_sees_only_those() -> None:
    far = _still(30, (1e7, 2e7))
    poses = _poses(0.1, 0.01)
    found = static_points(_view(poses), _seen(far, poses), np.ones(30 * TIMES, bool))
    assert (found.rho < 1e-4).all() and np.nanmax(found.error) < 1e-2
    turned = _poses(0.0, 0.02)
    found = static_points(_view(turned), _seen(_still(30, (3, 9)), turned), np.ones(30 * TIMES, bool))
    assert (found.rho == 0).all() and (found.rho_error > 0.5).all() and np.nanmax(found.error) < 1e-6


def test_what_would_be_behind_the_camera_is_judged_as_infinitely_far() -> None:
    """Points that go with the camera, faster than it: only a point behind it could stand still and look so."""
    poses = _poses(0.1)
    points = _still(20, (4, 6))
    points[..., 0] += 0.3 * np.arange(TIMES)
    seen = _seen(points, poses)
    found = static_points(_view(poses), seen, np.ones(len(seen.time), bool))
    assert (found.rho == 0).all()
    assert (percentile_by_track(found.error, seen.track, seen.count, 0.9) > 5).all()


def test_the_error_of_the_inverse_distance_is_that_of_repeated_noise() -> None:
    poses, point = _poses(0.1), _still(1, (5, 6))
    points = np.repeat(point, 400, 0)
    seen = _seen(points, poses, noise=0.1)
    found = static_points(_view(poses), seen, np.ones(len(seen.time), bool))
    assert found.rho.std() == pytest.approx(0.1 * np.median(found.rho_error), rel=0.2)


def test_percentiles_are_numpys() -> None:
    random = np.random.default_rng(0)
    values, track = random.normal(size=60), np.sort(random.integers(0, 7, 60))
    values[3] = np.nan
    found = percentile_by_track(values, track, 8, 0.9)
    expected = [np.nanpercentile(values[track == n], 90) for n in range(7)]
    assert np.allclose(found[:7], expected) and np.isnan(found[7])


def test_a_vote_is_the_weighted_mean_of_near_tracks_of_like_colour() -> None:
    random = np.random.default_rng(0)
    image = np.zeros((60, 80, 3), np.uint8)
    image[:, 40:] = (200, 40, 40)
    xy = random.uniform(0, 1, (40, 2)) * [80, 60]
    suspicion, say = random.uniform(0, 1, 40), random.uniform(0.2, 1, 40)
    numbers = VoteNumbers(reach=32.0)  # 8 pixels here; cells of 16
    found = vote(image, xy, suspicion, say, numbers)
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(float)
    for row, column in ((10, 20), (30, 41), (59, 79)):
        cell = (row // 16, column // 16)
        near = (np.abs(xy[:, 1] // 16 - cell[0]) <= 1) & (np.abs(xy[:, 0] // 16 - cell[1]) <= 1)
        place = ((xy - [column + 0.5, row + 0.5]) ** 2).sum(1) / 64
        colour = ((lab[xy[:, 1].astype(int), xy[:, 0].astype(int)] - lab[row, column]) ** 2).sum(1) / 144
        weight = near * say * np.exp(-0.5 * (place + colour))
        assert found[row, column] == pytest.approx((weight * suspicion).sum() / (weight.sum() + 0.02), abs=1e-4)


def _prior(seen: Observations, keep: np.ndarray) -> LongTracks:
    number = np.cumsum(np.bincount(seen.track[keep], minlength=seen.count) > 0) - 1
    track = number[seen.track[keep]].astype(np.int32)
    return LongTracks(
        Provenance("test"), seen.xy[keep].astype(np.float32), seen.time[keep].astype(np.int32), track, np.zeros(track[-1] + 1, np.int32)
    )


def _capture(root: Path, poses: np.ndarray, images: np.ndarray) -> Capture:
    np.save(root / "frames_000.npy", images)
    shape = (1, TIMES)
    every = np.ones(shape, bool)
    return Capture(
        root, np.broadcast_to(K, (*shape, 3, 3)), poses[None], np.arange(TIMES) / 10, np.array([[WIDTH, HEIGHT]]), every, every, ~every,
        "given", False, "test", ("a",),
    )  # fmt: skip


def _cameras(capture: Capture) -> Cameras:
    none = np.zeros((0, 3), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)
    return Cameras(Provenance("test"), capture.K, capture.world_to_camera, *none)


def _half_moving(root: Path, poses: np.ndarray) -> tuple[Capture, Observations, np.ndarray]:
    """Resting points left, points that swing up and down right; the right half of the image is red."""
    points = _still(400, (4, 6))
    moving = points[:, 0, 0] / points[:, 0, 2] > 0.1
    points[moving, :, 1] += 0.2 * np.sin(0.9 * np.arange(TIMES))
    images = np.full((TIMES, HEIGHT, WIDTH, 3), 90, np.uint8)
    camera = np.einsum("tij,ptj->pti", poses[:, :3, :3], points) + poses[None, :, :3, 3]
    middle = (camera[moving, :, 0] / camera[moving, :, 2]).min(0) * FOCAL + WIDTH / 2
    for t in range(TIMES):
        images[t, :, max(0, round(middle[t])) :] = (160, 60, 40)
    return _capture(root, poses, images), _seen(points, poses, 0.1), moving


@pytest.mark.parametrize("travel", [0.08, 0.0])
def test_suspicion_lies_on_what_moves(tmp_path: Path, travel: float) -> None:
    poses = _poses(travel, 0.005)
    capture, seen, moving = _half_moving(tmp_path, poses)
    prior = _prior(seen, np.ones(len(seen.time), bool))
    judged = judge_tracks(capture, prior, _cameras(capture), 0)
    assert (judged.suspicion[~moving] < 0.1).mean() > 0.97
    assert (judged.suspicion[moving] > 0.9).mean() > 0.97
    found = view_suspicion(capture, 0, judge_tracks(capture, prior, _cameras(capture), 0))
    assert found.shape == (TIMES, HEIGHT, WIDTH) and found.dtype == np.float16
    red = np.stack([np.asarray(capture.image(0, t))[..., 0] > 120 for t in range(TIMES)])
    covered = np.zeros_like(red)
    covered[:, 50:130, 60:230] = True
    assert found[covered & ~red].mean() < 0.1
    assert found[covered & red].mean() > 0.7


def test_a_track_that_dies_young_inside_the_image_is_suspicious(tmp_path: Path) -> None:
    poses = _poses(0.08)
    capture = _capture(tmp_path, poses, np.full((TIMES, HEIGHT, WIDTH, 3), 90, np.uint8))
    seen = _seen(_still(200, (4, 6)), poses)
    short = (seen.track == 0) & (seen.time > 2)
    inside = np.abs(seen.xy - [WIDTH / 2, HEIGHT / 2]).max(1) < 60
    centre = seen.track[np.flatnonzero(inside)[0]]
    keep = ~((seen.track == centre) & (seen.time > 2)) & ~short
    prior = _prior(seen, keep)
    judged = judge_tracks(capture, prior, _cameras(capture), 0)
    assert judged.lost[centre]
    assert judged.lost.sum() == 1 + int(judged.lost[0] and centre != 0)


def test_held_out_images_judge_nothing(tmp_path: Path) -> None:
    poses = _poses(0.08, 0.005)
    capture, seen, _ = _half_moving(tmp_path, poses)
    train = np.ones((1, TIMES), bool)
    train[0, 4] = False
    capture = replace(capture, train=train)
    spoilt = seen.xy.copy()
    spoilt[seen.time == 4] += np.random.default_rng(3).normal(0, 30, spoilt[seen.time == 4].shape)
    kept = np.ones(len(seen.time), bool)
    first = judge_tracks(capture, _prior(seen, kept), _cameras(capture), 0)
    second = judge_tracks(capture, _prior(Observations(spoilt, seen.time, seen.track, seen.count), kept), _cameras(capture), 0)
    assert np.array_equal(first.suspicion, second.suspicion)
