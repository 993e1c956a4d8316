"""Cameras of photos: which images are mapped, which cameras stand still, what is said, and a wall of photos against its exact cameras."""

import sqlite3
import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.priors.cameras import photo_cameras as module
from fourfold.priors.cameras.photo_cameras import PhotoNumbers, Structure, cameras_of, chosen_frames, mean_pose, photo_cameras, stands_still


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
    frames, still = chosen_frames(capture)
    assert still.tolist() == [True, False, True]
    assert [sum(v == view for v, _ in frames) for view in range(3)] == [3, 12, 3]
    assert [t for v, t in frames if v == 0] == [5, 6, 7]
    few, _ = chosen_frames(capture, PhotoNumbers(most=12))
    mine = [t for v, t in few if v == 1]
    assert len(mine) <= 7 and mine[0] == 0 and mine[-1] == 11


def test_one_camera_is_not_asked_whether_it_stands_still(tmp_path):
    capture = _filmed(tmp_path, [0.0])
    frames, still = chosen_frames(capture)
    assert not still.any() and len(frames) == 12
    present = capture.present.copy()
    present[0, 3] = False
    assert (0, 3) not in chosen_frames(replace(capture, present=present))[0]


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


QUICK = PhotoNumbers(wide_features=4000)
K = np.array([[420.0, 0, 240], [0, 420, 180], [0, 0, 1]])


def _photos(tmp_path: Path) -> tuple[Capture, np.ndarray]:
    """Six photos of a printed wall and a board before it, with their exact world_to_camera (6, 4, 4)."""
    rng, count = np.random.default_rng(3), 6
    sheets = [np.kron(rng.integers(0, 255, (n, n, 3)), np.ones((8, 8, 1))).astype(np.uint8) for n in (60, 30)]
    poses = np.tile(np.eye(4), (count, 1, 1))
    for i, angle in enumerate(np.radians(np.linspace(-25, 25, count))):
        poses[i, :3, :3] = Rotation.from_euler("yx", [angle, 0.1 * np.sin(5 * angle)]).as_matrix()
        poses[i, :3, 3] = -poses[i, :3, :3] @ [4 * np.sin(-angle), 0.2 * i, -4 * np.cos(angle)]
    for i, pose in enumerate(poses):
        photo = np.full((360, 480, 3), 128, np.uint8)
        for sheet, width, z in zip(sheets, (5.0, 1.5), (0.0, -0.8), strict=True):
            step = width / len(sheet)
            place = np.array([[step, 0, -width / 2], [0, step, -width / 2], [0, 0, z], [0, 0, 1]])
            home = K @ pose[:3] @ place
            drawn = cv2.warpPerspective(sheet, home, (480, 360), flags=cv2.INTER_AREA)
            inside = cv2.warpPerspective(np.ones(sheet.shape[:2], np.uint8), home, (480, 360), flags=cv2.INTER_NEAREST) > 0
            photo[inside] = drawn[inside]
        np.save(tmp_path / f"frames_{i:03d}.npy", photo[None])
    shape = (count, 1)
    unknown = Capture(
        root=tmp_path,
        K=np.full((*shape, 3, 3), np.nan),
        world_to_camera=np.full((*shape, 4, 4), np.nan),
        timestamps=np.zeros(1),
        sizes=np.array([[480, 360]] * count),
        present=np.ones(shape, bool),
        train=np.ones(shape, bool),
        heldout=np.zeros(shape, bool),
        cameras="unknown",
        metric=False,
        name="photos",
        view_names=tuple("abcdef"),
    )
    return unknown, poses


def test_photos_are_placed_where_they_were_taken(tmp_path):
    capture, truth = _photos(tmp_path)
    found = photo_cameras(capture, QUICK)
    assert found.provenance.figures["source"] == "estimated" and found.provenance.figures["registered_share"] == 1
    turns = [p[:, :3, :3] @ p[0, :3, :3].T for p in (found.world_to_camera[:, 0], truth)]
    assert np.degrees(Rotation.from_matrix(turns[0] @ turns[1].transpose(0, 2, 1)).magnitude()).max() < 0.3
    centres = [-np.einsum("nji,nj->ni", p[:, :3, :3], p[:, :3, 3]) for p in (found.world_to_camera[:, 0], truth)]
    apart = [np.linalg.norm(c[:, None] - c, axis=2) for c in centres]
    assert apart[0] / apart[0].max() == pytest.approx(apart[1] / apart[1].max(), abs=0.01)
    assert found.K[:, 0, 0, 0] == pytest.approx(420, rel=0.03)


def test_what_masks_call_moving_places_nothing(tmp_path):
    capture, _ = _photos(tmp_path)
    for view in range(capture.views):
        np.save(tmp_path / f"masks_{view:03d}.npy", np.ones((1, 360, 480), np.int8))
    with pytest.raises(FourfoldError, match="placed only 0% of the images of 6 cameras"):
        photo_cameras(capture, PhotoNumbers(long_side=240))


def _structure(capture: Capture, registered: list[bool]) -> Structure:
    count, points = len(registered), np.random.default_rng(0).normal(0, 1, (30, 3))
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, 0, 3] = -np.arange(count)
    one = np.ones(30)
    return Structure(
        np.array(registered), poses, np.full(count, 80.0), np.full((count, 2), 300.0), points, 1.5 * one, (2 * one).astype(np.int32), 0.5 * one
    )


def test_checks_say_what_is_wrong(tmp_path):
    capture = _filmed(tmp_path, [1.0])
    frames = [(0, t) for t in (0, 2, 4, 11)]
    found = cameras_of(capture, frames, np.zeros(1, bool), _structure(capture, [True, True, True, False]))
    text = " ".join(found.provenance.notes)
    said = ("75% of the frames", "reprojection error of 1.50 px", "parallax depth is poorly", "field of view of 152", "9 frames could not be placed")
    assert all(words in text for words in said)
    assert found.K[0, 0, 0, 0] == pytest.approx(80 * 160 / 640)
    centres = -found.world_to_camera[0, :, 0, 3]
    assert centres[:5] == pytest.approx([0, 0.5, 1, 1.5, 2]) and centres[5:] == pytest.approx(2)
    assert [0, 1] in found.provenance.figures["interpolated"] and [0, 2] not in found.provenance.figures["interpolated"]


def test_a_camera_that_shares_nothing_is_left_out_and_named(tmp_path):
    capture = _filmed(tmp_path, [0.0, 0.0])
    found = cameras_of(capture, [(0, 6), (1, 6)], np.ones(2, bool), _structure(capture, [True, False]))
    assert np.isnan(found.K[1]).all() and found.provenance.figures["cameras_left_out"] == ["b"]
    assert np.isfinite(found.world_to_camera[0]).all()


@pytest.mark.parametrize(
    ("code", "said", "told"),
    [
        (1, "sqlite: database or disk is full", "no space left on the disk while structure from motion worked"),
        (1, "OSError: [Errno 28] No space left on device", "no space left on the disk"),
        (-9, "", "was ended by SIGKILL"),
    ],
)
def test_a_machine_without_room_is_no_reason_for_other_cameras(code: int, said: str, told: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "_watched", lambda *_: subprocess.CompletedProcess([], code, "", said))
    with pytest.raises(FourfoldError, match=told):
        module._mapped(tmp_path)
    monkeypatch.setattr(module, "_watched", lambda *_: subprocess.CompletedProcess([], 1, "", "a crash"))
    assert module._mapped(tmp_path) is None, "a crash of its own is said, and the job goes on without it"
    monkeypatch.setattr(module, "free_disk", lambda _: 1000)
    with pytest.raises(FourfoldError, match="no space left"):
        module._mapped(tmp_path)


def test_how_far_the_mapping_is_comes_from_what_the_worker_leaves(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text('["a", "b", "c"]')
    (tmp_path / "pairs.txt").write_text("a b\na c\nb c\n")
    assert module.how_far(tmp_path) == ("features of photos", 0, 3)
    with closing(sqlite3.connect(tmp_path / "features.db")) as database:
        database.executescript("create table keypoints(n); create table two_view_geometries(n); insert into keypoints values (1), (2)")
        assert module.how_far(tmp_path) == ("features of photos", 2, 3)
        database.executescript("insert into two_view_geometries values (1)")
        assert module.how_far(tmp_path) == ("matching photos", 1, 3)
    (tmp_path / "placed").write_bytes(b"..")
    assert module.how_far(tmp_path) == ("placing photos", 2, 3)
