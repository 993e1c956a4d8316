"""Which frames of several cameras are matched, and which cameras stand still."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fourfold.capture.capture import Capture
from fourfold.priors.classical.camera_pairs import PairConfig, candidate_pairs, choose_frames, stands_still
from fourfold.priors.classical.camera_solution import mean_pose

CONFIG = PairConfig(overlap=2)


@given(st.integers(2, 3), st.integers(2, 40))
def test_cameras_are_matched_at_powers_of_two_on_both_sides(views, times):
    """Spec sparse_dynamic_cameras.md section 6: delta in {0, 1, 2, 4, ..., 2^floor(log2 T)}, both signs, all pairs of cameras."""
    frames = [(v, t) for v in range(views) for t in range(times)]
    pairs = {(frames[a], frames[b]) for a, b in candidate_pairs(frames, CONFIG)}
    deltas = {0} | {2**k for k in range(int(np.floor(np.log2(times))) + 1)}
    across = {(x, y) for x in frames for y in frames if x[0] < y[0] and abs(x[1] - y[1]) in deltas}
    assert {(x, y) for x, y in pairs if x[0] != y[0]} == across
    within = {(x, y) for x, y in pairs if x[0] == y[0]}
    assert within == {(x, y) for x in frames for y in frames if x[0] == y[0] and y[1] - x[1] in {1, 2, 8, 16, 32, 64}}


def test_steps_are_counted_in_chosen_moments():
    frames = [(v, 3 * t) for v in range(2) for t in range(9)]
    pairs = {(frames[a], frames[b]) for a, b in candidate_pairs(frames, CONFIG)}
    assert ((0, 0), (1, 3)) in pairs and ((0, 6), (1, 0)) in pairs and ((0, 0), (1, 9)) not in pairs


def test_a_camera_that_stands_still_is_matched_with_all_others_and_never_with_itself():
    frames = [(0, t) for t in range(20)] + [(1, t) for t in (9, 10, 11)] + [(2, t) for t in (9, 10, 11)]
    pairs = {(frames[a], frames[b]) for a, b in candidate_pairs(frames, CONFIG, {1, 2})}
    assert not any(x[0] == y[0] == v for x, y in pairs for v in (1, 2))
    assert all(((0, t), (1, 10)) in pairs for t in range(20)) and ((1, 9), (2, 11)) in pairs


def _filmed(tmp_path: Path, moves: list[float]) -> Capture:
    """Cameras that look at a wall of random blocks, moving by so many pixels per frame, with something that moves before it."""
    rng = np.random.default_rng(0)
    wall = np.kron(rng.integers(0, 255, (30, 60)), np.ones((6, 6)))[:, :, None].repeat(3, 2).astype(np.uint8)
    times, shape = 12, (len(moves), 12)
    for view, move in enumerate(moves):
        frames = np.stack([np.roll(wall, round(move * t), axis=1)[:120, :160] for t in range(times)])
        for t in range(times):
            frames[t, 20:70, 5 * t : 5 * t + 45] = wall[60:110, 200:245]
        np.save(tmp_path / f"frames_{view:03d}.npy", frames)
    return Capture(
        root=tmp_path,
        K=np.full((*shape, 3, 3), np.nan),
        world_to_camera=np.full((*shape, 4, 4), np.nan),
        timestamps=np.arange(times) / 10,
        sizes=np.array([[160, 120]] * len(moves)),
        present=np.ones(shape, bool),
        train=np.ones(shape, bool),
        heldout=np.zeros(shape, bool),
        cameras="unknown",
        metric=False,
        name="wall",
        view_names=tuple("abc"[: len(moves)]),
    )


def test_still_cameras_are_told_from_moving_ones_behind_a_mover(tmp_path):
    capture = _filmed(tmp_path, [0.0, 1.0, 0.0])
    assert [stands_still(capture, v) for v in range(3)] == [True, False, True]
    choice = choose_frames(capture)
    assert choice.still.tolist() == [True, False, True]
    assert [sum(v == view for v, _ in choice.frames) for view in range(3)] == [3, 12, 3]
    assert [t for v, t in choice.frames if v == 0] == [5, 6, 7]
    few = choose_frames(capture, PairConfig(max_frames=6))
    mine = [t for v, t in few.frames if v == 1]
    assert len(mine) <= 7 and mine[0] == 0 and mine[-1] == 11


def test_one_camera_is_not_asked_whether_it_stands_still(tmp_path):
    choice = choose_frames(_filmed(tmp_path, [0.0]))
    assert not choice.still.any() and len(choice.frames) == 12
    gone = _filmed(tmp_path, [0.0])
    present = gone.present.copy()
    present[0, 3] = False
    assert (0, 3) not in choose_frames(replace(gone, present=present)).frames


def test_the_mean_pose_of_scattered_ones():
    rng = np.random.default_rng(0)
    truth = np.eye(4)
    truth[:3, :3], centre = Rotation.from_euler("xyz", [20, -50, 5], degrees=True).as_matrix(), np.array([1.0, -2, 3])
    poses = []
    for _ in range(25):
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_rotvec(rng.normal(0, 0.01, 3)).as_matrix() @ truth[:3, :3]
        pose[:3, 3] = -pose[:3, :3] @ (centre + rng.normal(0, 0.01, 3))
        poses.append(pose)
    poses[0][:3, 3] += 50
    mean = mean_pose(poses)
    assert np.degrees(Rotation.from_matrix(mean[:3, :3] @ truth[:3, :3].T).magnitude()) < 0.3
    assert -mean[:3, :3].T @ mean[:3, 3] == pytest.approx(centre, abs=0.02)
