"""Cameras of photos: epipolar residuals, pose gaps and candidate pairs against projected random points."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fourfold.capture.capture import Capture
from fourfold.priors.classical.camera_checks import check_cameras, parallax_degrees
from fourfold.priors.classical.camera_gaps import interpolate_pose
from fourfold.priors.classical.camera_pairs import PairConfig, candidate_pairs
from fourfold.priors.classical.camera_solution import CameraConfig, outside_masks, solve
from fourfold.priors.classical.sfm import Features, Structure
from fourfold.priors.contracts import Masks, Provenance

WIDTH, HEIGHT, FOCAL = 320, 180, 300.0
K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1.0]])


def _poses(turn: float, travel: float, count: int = 12) -> np.ndarray:
    """A camera that pans by `turn` degrees and moves sideways by `travel`."""
    poses = np.tile(np.eye(4), (count, 1, 1))
    for i, share in enumerate(np.linspace(0, 1, count)):
        poses[i, :3, :3] = Rotation.from_euler("yx", [turn * share, 0.3 * turn * share], degrees=True).as_matrix()
        poses[i, :3, 3] = -poses[i, :3, :3] @ np.array([travel * share, 0, 0])
    return poses


def _features(poses: np.ndarray, noise: float = 0.2, points: int = 300) -> Features:
    rng = np.random.default_rng(0)
    world = rng.uniform([-9, -4, 5], [9, 4, 15], (points, 3))
    xy, image, identity = [], [], []
    for i, pose in enumerate(poses):
        camera = world @ pose[:3, :3].T + pose[:3, 3]
        pixel = camera @ K.T
        pixel = pixel[:, :2] / pixel[:, 2:]
        seen = np.flatnonzero((camera[:, 2] > 0.1) & (pixel >= 0).all(1) & (pixel < [WIDTH, HEIGHT]).all(1))
        xy.append(pixel[seen] + rng.normal(0, noise, (len(seen), 2)))
        image.append(np.full(len(seen), i))
        identity.append(seen)
    xy, image, identity = np.concatenate(xy), np.concatenate(image), np.concatenate(identity)
    rows = {(i, p): r for r, (i, p) in enumerate(zip(image, identity, strict=True))}
    pairs = [
        (rows[a, p], rows[b, p])
        for a, b in candidate_pairs([(0, t) for t in range(len(poses))])
        for p in range(points)
        if (a, p) in rows and (b, p) in rows
    ]
    count = len(poses)
    times = np.arange(count, dtype=np.int32)
    return Features(
        Path("unused"), np.zeros(count, np.int32), times, xy.astype(np.float32), image.astype(np.int32), np.array(pairs, np.int32), np.ones(count)
    )


def _capture(count: int = 12) -> Capture:
    shape = (1, count)
    return Capture(
        root=Path("unused"),
        K=np.full((*shape, 3, 3), np.nan),
        world_to_camera=np.full((*shape, 4, 4), np.nan),
        timestamps=np.arange(count) / 10,
        sizes=np.array([[WIDTH, HEIGHT]]),
        present=np.ones(shape, bool),
        train=np.ones(shape, bool),
        heldout=np.zeros(shape, bool),
        cameras="unknown",
        metric=False,
        name="test",
        view_names=("a",),
    )


def test_photos_of_which_nothing_can_be_placed_are_said_to_be_of_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 12
    poses = np.tile(np.eye(4), (count, 1, 1)), np.full(count, np.nan), np.full((count, 2), np.nan)
    none = np.zeros(0, np.int32)
    empty = Structure(np.zeros(count, bool), *poses, np.zeros((0, 3)), np.zeros(0, np.float32), none, none, np.zeros((0, 2), np.float32))
    monkeypatch.setattr("fourfold.priors.classical.camera_solution.map_structure", lambda *_: empty)
    features = _features(_poses(8, 4))
    solution = solve(_capture(), features, np.ones(len(features.xy), bool), CameraConfig())
    assert solution.source == "fixed" and "placed only 0% of the photos" in solution.notes[0]
    assert np.isfinite(solution.world_to_camera).all() and np.isfinite(solution.K).all()


def test_interpolated_pose_lies_on_the_path() -> None:
    poses = _poses(20, 2, 5)
    placed = {0: poses[0], 4: poses[4]}
    middle = interpolate_pose(placed, np.arange(5) / 10, 2)
    centre = -middle[:3, :3].T @ middle[:3, 3]
    assert np.allclose(centre, [1, 0, 0]) and np.allclose(np.linalg.det(middle[:3, :3]), 1)
    assert np.allclose(interpolate_pose(placed, np.arange(6) / 10, 5), poses[4])


def test_candidate_pairs_reach_far_and_across_views() -> None:
    pairs = candidate_pairs([(v, t) for v in range(2) for t in range(20)], PairConfig(overlap=3))
    assert (0, 16) in pairs and (0, 3) in pairs and (0, 4) not in pairs and (5, 25) in pairs and (5, 26) in pairs and (5, 28) not in pairs


def test_keypoints_on_movers_are_left_out() -> None:
    features = _features(_poses(5, 1))
    mask = np.full((12, HEIGHT, WIDTH), -1, np.int8)
    mask[:, :, :100] = 1
    keep = outside_masks(features, Masks(Provenance("test"), (mask,)))
    assert np.array_equal(keep, features.xy[:, 0].astype(int) >= 100)


def test_checks_say_what_is_wrong() -> None:
    poses = _poses(0, 0.02, 4)
    world = np.random.default_rng(0).uniform([-1, -1, 5], [1, 1, 9], (30, 3))
    point, image = np.tile(np.arange(30), 4), np.repeat(np.arange(4), 30)
    camera = np.einsum("oij,oj->oi", poses[image, :3, :3], world[point]) + poses[image, :3, 3]
    xy = camera[:, :2] / camera[:, 2:] * 40 + [160, 90]
    arrays = (np.array([True] * 3 + [False]), poses, np.full(4, 40.0), np.tile([160.0, 90.0], (4, 1)), world, np.full(30, 0.9, np.float32))
    structure = Structure(*arrays, point.astype(np.int32), image.astype(np.int32), xy.astype(np.float32))
    notes, figures = check_cameras(structure, _capture(4))
    text = " ".join(notes)
    assert parallax_degrees(structure) < 0.5 and figures["registered_share"] == 0.75
    assert all(
        word in text for word in ("75% of the frames", "reprojection error of 1.80 px", "parallax depth is poorly", "field of view", "moved by only")
    )
