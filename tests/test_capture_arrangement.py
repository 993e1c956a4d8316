"""Several fixed cameras in one list are as many views; one moving camera stays one; what COLMAP left out leaves gaps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fourfold.capture import CaptureOptions
from fourfold.capture.arrangement import arrange
from fourfold.capture.discover import open_source
from fourfold.capture.inspect import inspect
from fourfold.capture.pairing import paired
from fourfold.capture.source import Source
from fourfold.errors import FourfoldError
from rig_folders import TIMES, VIEWS, Rig, colmap, grey, pose


def _whole(source: Source, rig: Rig, times: list[float] | None = None) -> None:
    """V views x T times, each image where it belongs, with its camera."""
    assert (len(source.views), len(source.timestamps), source.cameras) == (VIEWS, TIMES, "given")
    if times is not None:
        np.testing.assert_allclose(source.timestamps, times, atol=1e-6)
    for v, view in enumerate(source.views):
        assert view.present.all()
        np.testing.assert_allclose(view.world_to_camera, rig.world_to_camera[v], atol=1e-9)
        np.testing.assert_allclose(view.K, np.repeat(rig.K[None], TIMES, 0))
        levels = [float(image.mean()) for image in view.frames.decode([int(n) for n in view.frame_of_time])]
        np.testing.assert_allclose(levels, [grey(v, t) for t in range(TIMES)], atol=1.5)


Names = Callable[[int, int], str]
More = Callable[[int, int], dict[str, Any]]
NAMES: dict[str, Names] = {
    "folder per camera": lambda v, t: f"cam{v:02d}/{t:04d}.png",
    "folder of a sensor": lambda v, t: f"sensor{v}\\rgb\\{t:06d}.png",
    "flat": lambda v, t: f"images/cam{v:02d}_{t:04d}.png",
    "flat, the moment first": lambda v, t: f"images/frame_{t:05d}_view{v}.png",
    "words": lambda v, t: f"{('left', 'middle', 'right')[v]}/{t}.png",
    "folder per moment": lambda v, t: f"frame{t:04d}/images/{v}.png",
    "no word at all": lambda v, t: f"{v}_{t}.png",
    "one number": lambda v, t: f"images/{v * TIMES + t:04d}.png",
    "each counts on": lambda v, t: f"cam{v}/{10 * v + t:04d}.png",
    "letters": lambda v, t: f"{'abc'[v]}/x{t}.png",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_transforms_of_fixed_cameras_without_times(tmp_path: Path, name: Names) -> None:
    rig = Rig()
    source = open_source([rig.transforms(tmp_path, name)], CaptureOptions(fps=10.0))
    _whole(source, rig, [t / 10 for t in range(TIMES)])
    assert "3 cameras, 5 moments" in str(source.facts["cameras_told_by"])


@pytest.mark.parametrize(
    ("more", "times"),
    [
        (lambda v, t: {"time": t / 4}, [0, 0.25, 0.5, 0.75, 1]),
        (lambda v, t: {"timestamp": 1e9 + t / 20}, [0, 0.05, 0.1, 0.15, 0.2]),
        (lambda v, t: {"timestamp": 1_650_843_121_000_000_000 + t * 50_000_000}, [0, 0.05, 0.1, 0.15, 0.2]),
        (lambda v, t: {"timestamp": 5.0 + t / 20 + 0.002 * v}, [0, 0.05, 0.1, 0.15, 0.2]),
        (lambda v, t: {"frame_index": 3 + t}, [0, 0.1, 0.2, 0.3, 0.4]),
        (lambda v, t: {"frame_id": v * TIMES + t}, [0, 0.1, 0.2, 0.3, 0.4]),
        (lambda v, t: {"camera_index": v, "frame_index": 2 * t}, [0, 0.2, 0.4, 0.6, 0.8]),
        (lambda v, t: {"camera_id": f"c{v}"}, [0, 0.1, 0.2, 0.3, 0.4]),
    ],
    ids=["time", "seconds", "nanoseconds", "clocks 2 ms apart", "frame_index", "running number", "camera and frame index", "camera_id"],
)
def test_transforms_with_what_tells_times_or_cameras(tmp_path: Path, more: More, times: list[float]) -> None:
    rig = Rig()
    rate = None if {"time", "timestamp"} & more(0, 0).keys() else 10.0  # of images that carry times a rate takes fewer
    source = open_source([rig.transforms(tmp_path, lambda v, t: f"cam{v:02d}/{t:04d}.png", more)], CaptureOptions(fps=rate))
    _whole(source, rig, times)


def test_times_that_repeat_tell_cameras_of_equal_pose(tmp_path: Path) -> None:
    rig = Rig()
    rng = np.random.default_rng(0)
    names = {(v, t): f"{rng.integers(1 << 60):x}q.png" for v in range(VIEWS) for t in range(TIMES)}
    source = open_source([rig.transforms(tmp_path, lambda v, t: names[v, t], lambda v, t: {"time": t / 10})], CaptureOptions())
    assert len(source.views) == VIEWS and len(source.timestamps) == TIMES
    for view in source.views:
        assert np.ptp(view.world_to_camera, axis=0).max() < 1e-9


def test_moving_cameras_are_told_by_folders_and_words_only(tmp_path: Path) -> None:
    moving = Rig(np.stack([np.stack([pose(10 * v + t) for t in range(TIMES)]) for v in range(VIEWS)]))
    source = open_source([moving.transforms(tmp_path / "a", lambda v, t: f"cam{v}/{t:04d}.png")], CaptureOptions(fps=10.0))
    _whole(source, moving, [t / 10 for t in range(TIMES)])
    source = open_source([moving.transforms(tmp_path / "b", lambda v, t: f"{v}_{t}.png")], CaptureOptions(fps=10.0))
    assert (len(source.views), len(source.timestamps)) == (1, VIEWS * TIMES)


def test_one_camera_stays_one() -> None:
    walk = np.stack([pose(t) for t in range(12)])
    assert arrange([f"IMG_{i:04d}.jpg" for i in range(12)], walk) is None
    assert arrange([f"images/frame_{i:05d}.png" for i in range(12)]) is None
    assert arrange([f"2024-05-0{1 + i // 6} 12.{i:02d}.png" for i in range(12)]) is None
    assert arrange([f"take1/{i:04d}.png" for i in range(6)] + [f"take2/{i + 6:04d}.png" for i in range(6)]) is None
    still = np.repeat(pose(0)[None], 12, 0)
    assert arrange([f"{i:04d}.png" for i in range(12)], still) is None


def test_transforms_train_with_several_cameras_keeps_all_images(tmp_path: Path) -> None:
    rig = Rig()
    rig.transforms(tmp_path, lambda v, t: f"train/cam{v}_{t}.png", lambda v, t: {"time": t / 4})
    (tmp_path / "transforms.json").rename(tmp_path / "transforms_train.json")
    source = open_source([tmp_path], CaptureOptions())
    assert [v.name for v in source.views] == ["train cam0", "train cam1", "train cam2"]
    _whole(source, rig)


def _first_frames(root: Path, rig: Rig, name: str = "cam{:02d}.png") -> None:
    for v in range(VIEWS):
        rig.save(root / "images" / name.format(v), v, 0)
    colmap(root / "sparse" / "0", [(name.format(v), rig.world_to_camera[v, 0]) for v in range(VIEWS)])


def test_videos_beside_a_model_of_their_first_frames(tmp_path: Path) -> None:
    rig = Rig()
    rig.videos(tmp_path)
    _first_frames(tmp_path, rig)
    source = open_source([tmp_path], CaptureOptions())
    _whole(source, rig, [t / 10 for t in range(TIMES)])
    assert "3 of 3 cameras" in str(source.facts["cameras_from"])


def test_a_video_that_the_model_does_not_hold_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rig = Rig()
    rig.videos(tmp_path / "videos")
    colmap(tmp_path / "sparse" / "0", [(f"cam{v:02d}.jpg", rig.world_to_camera[v, 0]) for v in (0, 2)])
    source = open_source([tmp_path], CaptureOptions())
    assert [v.name for v in source.views] == ["cam00", "cam02"]
    assert "cam01 of" in capsys.readouterr().err


def test_one_video_beside_a_model_of_its_frames_is_a_colmap_folder(tmp_path: Path) -> None:
    rig = Rig()
    rig.videos(tmp_path)
    for v in range(1, VIEWS):
        (tmp_path / f"cam{v:02d}.mp4").unlink()
    for t in range(TIMES):
        rig.save(tmp_path / "images" / f"{t:04d}.png", 0, t)
    colmap(tmp_path / "sparse" / "0", [(f"{t:04d}.png", pose(t)) for t in range(TIMES)])
    source = open_source([tmp_path], CaptureOptions())
    assert (len(source.views), len(source.timestamps)) == (1, TIMES)


def test_multipleview_of_4dgaussians(tmp_path: Path) -> None:
    rig = Rig()
    for v, t in np.ndindex(VIEWS, TIMES):
        rig.save(tmp_path / f"cam{v + 1:02d}" / f"frame_{t + 1:05d}.jpg", v, t)
    colmap(tmp_path / "sparse_", [(f"image{v + 1}.jpg", rig.world_to_camera[v, 0]) for v in (2, 0, 1)])
    np.save(tmp_path / "poses_bounds_multipleview.npy", np.zeros((VIEWS, 17)))
    source = open_source([tmp_path], CaptureOptions(fps=10.0))
    _whole(source, rig, [t / 10 for t in range(TIMES)])
    assert [v.name for v in source.views] == ["cam01", "cam02", "cam03"]


def test_a_folder_per_moment_with_a_model(tmp_path: Path) -> None:
    rig = Rig()
    for v, t in np.ndindex(VIEWS, TIMES):
        rig.save(tmp_path / f"colmap_{t}" / "images" / f"cam{v:02d}.png", v, t)
    colmap(tmp_path / "colmap_0" / "sparse" / "0", [(f"cam{v:02d}.png", rig.world_to_camera[v, 0]) for v in range(VIEWS)])
    (tmp_path / "colmap_3" / "images" / "cam01.png").unlink()
    source = open_source([tmp_path], CaptureOptions(fps=10.0))
    assert [v.present.sum() for v in source.views] == [5, 4, 5] and not source.views[1].present[3]
    np.testing.assert_allclose(source.views[1].world_to_camera[4], rig.world_to_camera[1, 0], atol=1e-9)


@pytest.mark.parametrize("name", ["cam{v:02d}_{t:04d}.png", "cam{v:02d}/{t:04d}.png"])
def test_colmap_of_fixed_cameras(tmp_path: Path, name: str) -> None:
    rig = Rig()
    images = [(name.format(v=v, t=t), rig.world_to_camera[v, t]) for v, t in np.ndindex(VIEWS, TIMES)]
    for (file, _), (v, t) in zip(images, np.ndindex(VIEWS, TIMES), strict=True):
        rig.save(tmp_path / "images" / file, v, t)
    colmap(tmp_path / "sparse" / "0", images)
    _whole(open_source([tmp_path], CaptureOptions(fps=10.0)), rig, [t / 10 for t in range(TIMES)])


def _walk(root: Path, count: int) -> list[tuple[str, np.ndarray]]:
    rig = Rig()
    for t in range(count):
        rig.save(root / "images" / f"{t:04d}.png", 0, t)
    return [(f"{t:04d}.png", pose(t)) for t in range(count)]


def test_the_largest_model_is_taken_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = _walk(tmp_path, 10)
    colmap(tmp_path / "sparse" / "0", images[:2])
    colmap(tmp_path / "sparse" / "1", images[3:])
    source = open_source([tmp_path], CaptureOptions())
    assert len(source.timestamps) == 7
    assert "COLMAP left 2 models" in capsys.readouterr().err and "1 with 7 images is read, 0 with 2 not" in str(source.facts["models"])


def test_images_that_were_not_registered_leave_gaps(tmp_path: Path) -> None:
    images = _walk(tmp_path, 10)
    colmap(tmp_path / "sparse" / "0", [i for t, i in enumerate(images) if t not in (3, 4)])
    source = open_source([tmp_path], CaptureOptions(fps=10.0))
    np.testing.assert_allclose(source.timestamps, [0, 0.1, 0.2, 0.5, 0.6, 0.7, 0.8, 0.9])
    np.testing.assert_allclose(source.views[0].world_to_camera[3], pose(5), atol=1e-9)
    assert inspect(tmp_path)["facts"]["unregistered_images"] == 2


def test_an_image_that_sees_all_around_is_refused(tmp_path: Path) -> None:
    root = Rig().transforms(tmp_path, lambda v, t: f"{v}/{t}.png", lambda v, t: {"camera_model": "EQUIRECTANGULAR"})
    with pytest.raises(FourfoldError, match="sees all around"):
        open_source([root], CaptureOptions())


@pytest.mark.parametrize(
    ("cameras", "frames", "pairs"),
    [
        (["b", "a"], ["a", "b", "c"], [(0, 1), (1, 0)]),
        (["cam1", "cam10"], ["left_cam10", "left_cam1"], [(0, 1), (1, 0)]),
        (["image2", "image1"], ["cam01", "cam02", "cam03"], [(0, 1), (1, 0)]),
        (["cam_1", "cam_2"], ["GX010031", "GX020031"], [(0, 0), (1, 1)]),
        (["cam1", "cam2", "cam3"], ["0", "1", "2"], [(0, 0), (1, 1), (2, 2)]),
        (["cam1", "cam2"], ["p", "q", "r"], None),
        (["a", "a"], ["p", "q"], None),
    ],
)
def test_pairs_of_names(cameras: list[str], frames: list[str], pairs: list[tuple[int, int]] | None) -> None:
    assert paired(cameras, frames) == pairs


@pytest.mark.parametrize(
    "name",
    [
        lambda v, t: f"cam{v:02d}_{t:04d}.png",
        lambda v, t: f"images/frame{t:03d}_cam{v}.png",
        lambda v, t: f"frame{t:04d}/cam{v}.png",
        lambda v, t: f"colmap_{t}/images/cam{v:02d}.png",
        lambda v, t: f"cam{v}/{t:04d}.png",
    ],
    ids=["flat", "flat in images", "folder per moment", "folder per moment with images", "folder per camera"],
)
def test_images_without_cameras_become_views(tmp_path: Path, name: Names) -> None:
    rig = Rig()
    for v, t in np.ndindex(VIEWS, TIMES):
        rig.save(tmp_path / name(v, t), v, t)
    source = open_source([tmp_path], CaptureOptions(fps=10.0))
    assert (source.layout, source.cameras, len(source.views)) == ("images", "unknown", VIEWS)
    np.testing.assert_allclose(source.timestamps, np.arange(TIMES) / 10)
    for v, view in enumerate(source.views):
        levels = [float(image.mean()) for image in view.frames.decode([int(n) for n in view.frame_of_time])]
        np.testing.assert_allclose(levels, [grey(v, t) for t in range(TIMES)], atol=0.5)


def test_numbers_that_jump_leave_gaps_for_all_cameras(tmp_path: Path) -> None:
    rig = Rig()
    for v, t in np.ndindex(VIEWS, TIMES):
        if t != 2 and (v, t) != (1, 3):
            rig.save(tmp_path / f"cam{v:02d}_{t:04d}.png", v, t)
    source = open_source([tmp_path], CaptureOptions(fps=10.0))
    np.testing.assert_allclose(source.timestamps, [0, 0.1, 0.3, 0.4])
    assert [v.present.tolist() for v in source.views] == [[True] * 4, [True, True, False, True], [True] * 4]


def test_one_cameras_images_with_two_numbers_stay_one_view(tmp_path: Path) -> None:
    rig = Rig()
    for t in range(6):
        rig.save(tmp_path / f"IMG_2024{t // 3}_{t}.png", 0, t % TIMES)
    assert len(open_source([tmp_path], CaptureOptions()).views) == 1
