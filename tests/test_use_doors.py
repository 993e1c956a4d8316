"""Folders of a phone, of GoPros, of Record3D and of a COLMAP model with several cameras: what `prepare` makes of each without an option."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from door_folders import GOPROS, Size, gopros, phone, record3d, several_shots
from fourfold.capture import Capture, prepare_capture
from fourfold.capture.inspect import inspect

SIZE = Size(frames=3, width=96, height=56)
HLG_TURNED = ["HLG BT.2020 brought to BT.709, light above the reference white of 203 nits clipped", "turned by 90 degrees clockwise"]
INSIDE = np.s_[9:-9, 13:-13]  # what the bent films and the straightened ones both show


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("doors")


def _prepared(folder: Path) -> Capture:
    return prepare_capture([folder], folder.parent / "prepared" / folder.name, pixels=100_000, holdout="none")


def _truth(root: Path, name: str) -> Capture:
    return Capture.load(root / "synthetic" / name)


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean over the inside of the pictures, levels, without the finest detail, which coding and resampling take."""
    soft = [cv2.GaussianBlur(np.asarray(image, np.float32), (0, 0), 1.5) for image in (one, other)]
    return float(np.abs(soft[0] - soft[1])[INSIDE].mean())


def test_a_phones_film_is_upright_and_of_ordinary_colours(root: Path) -> None:
    folder = phone(root / "phone", SIZE)
    found = inspect(folder)
    assert (found["layout"], found["views"], found["sizes"]) == ("video", 1, [[SIZE.height, SIZE.width]])
    assert found["facts"]["notes"] == HLG_TURNED
    capture, truth = _prepared(folder), _truth(root, "phone")
    assert _difference(capture.image(0, 1), truth.image(0, 1)) < 4  # the film is compressed, its colours are half as fine
    assert capture.focal_hint[0] == pytest.approx(truth.K[0, 0, 0, 0], rel=1e-5)


def test_gopros_with_easymocaps_files_are_straight_and_in_place(root: Path) -> None:
    folder = gopros(root / "gopros", SIZE)
    assert inspect(folder)["lens_distortion"] == ["pinhole"]
    capture, truth = _prepared(folder), _truth(root, "rig")
    assert capture.view_names == ("1", "2", "3", "4") and capture.times == SIZE.frames and capture.metric
    for v, name in enumerate(GOPROS):
        theirs = truth.view_names.index(name)
        np.testing.assert_allclose(capture.world_to_camera[v, 0], truth.world_to_camera[theirs, 0], atol=1e-6)
        seen = _pinhole(truth.image(theirs, 1), truth.K[theirs, 0], capture.K[v, 0])
        assert _difference(capture.image(v, 1), seen) < 3
        assert _difference(np.roll(capture.image(v, 1), 1, axis=1), seen) > 4  # one pixel aside


def _pinhole(image: np.ndarray, K: np.ndarray, other: np.ndarray) -> np.ndarray:
    """What a camera `other` of the same place sees instead of `image`, seen by `K`."""
    shift = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
    height, width = image.shape[:2]
    return cv2.warpPerspective(np.asarray(image), shift @ other @ np.linalg.inv(shift @ K), (width, height), flags=cv2.INTER_LINEAR)


def test_record3d_has_poses_and_depth_in_metres(root: Path) -> None:
    capture = _prepared(record3d(root / "record3d", SIZE))
    truth = _truth(root, "walk")
    assert capture.metric and capture.timestamps == pytest.approx(np.arange(SIZE.frames) / 24)
    np.testing.assert_allclose(capture.world_to_camera[0], truth.world_to_camera[0], atol=1e-9)
    np.testing.assert_allclose(capture.K[0], truth.K[0], rtol=1e-9)
    coarse = np.asarray(truth.depth(0, 1))[::2, ::2].repeat(2, 0).repeat(2, 1)
    np.testing.assert_allclose(capture.depth(0, 1), coarse, atol=0.00051)  # whole millimetres


def test_one_folder_of_several_cameras_is_views_and_moments(root: Path) -> None:
    capture = _prepared(several_shots(root / "several", SIZE))
    truth = _truth(root, "rig")
    assert capture.view_names == tuple(f"cam{v:02d}" for v in range(5)) and capture.times == SIZE.frames
    np.testing.assert_array_equal(capture.present, truth.present)
    np.testing.assert_allclose(capture.world_to_camera[capture.present], truth.world_to_camera[truth.present], atol=1e-9)
    np.testing.assert_array_equal(capture.image(2, 1), truth.image(2, 1))
