"""Films that are no cameras: masks of a film, its depth, its small copy, chapters of one recording; and films beside images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import capture_files as files
from fourfold.capture import CaptureOptions, prepare_capture
from fourfold.capture.discover import open_source
from fourfold.capture.film_roles import roles_of
from fourfold.errors import FourfoldError

COUNT = 8


def _disk(number: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """(H, W) bool of an object that moves."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    return (x - 16 - 4 * number) ** 2 + (y - 24) ** 2 < 100


def _masks(soft: bool = False, inverted: bool = False, size: tuple[int, int] = (64, 48)) -> list[np.ndarray]:
    films = []
    for number in range(COUNT):
        mask = _disk(number, size) ^ inverted
        levels = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.5) if soft else mask.astype(np.float32)
        films.append(np.repeat((255 * levels).round().astype(np.uint8)[..., None], 3, axis=2))
    return films


@pytest.mark.parametrize("name", ["clip_mask.mp4", "clip-alpha.mp4", "clip.pha.mp4", "mask.mp4"])
@pytest.mark.parametrize("soft", [False, True])
def test_a_film_of_masks_is_masks(tmp_path: Path, name: str, soft: bool) -> None:
    files.write_video(tmp_path / "clip.mp4", files.noise(COUNT))
    files.write_video(tmp_path / name, _masks(soft))
    capture = prepare_capture([tmp_path], tmp_path / "out", pixels=10_000, holdout="none")
    assert capture.view_names == ("clip",) and capture.times == COUNT
    for number in range(COUNT):
        got, truth = np.asarray(capture.mask(0, number)) > 0, _disk(number)
        assert (got & truth).sum() / (got | truth).sum() > 0.9
    assert f"masks of clip.mp4 from {name}" in capture.facts["notes"]


def test_a_film_of_masks_of_the_background_is_turned_round(tmp_path: Path) -> None:
    files.write_video(tmp_path / "clip.mp4", files.noise(COUNT))
    files.write_video(tmp_path / "clip_mask.mp4", _masks(inverted=True))
    view = open_source([tmp_path], CaptureOptions()).views[0]
    assert view.masks is not None
    np.testing.assert_array_equal(next(iter(view.masks.decode([3])))[4:-4, 4:-4] > 0, _disk(3)[4:-4, 4:-4])


def test_masks_that_do_not_fit_are_named(tmp_path: Path) -> None:
    files.write_video(tmp_path / "clip.mp4", files.noise(COUNT))
    files.write_video(tmp_path / "clip_mask.mp4", _masks()[:-1])
    source = open_source([tmp_path], CaptureOptions())
    assert len(source.views) == 1 and source.views[0].masks is None
    assert any("7 frames of masks for 8 frames of clip.mp4" in n for n in source.facts["notes"])
    files.write_video(tmp_path / "clip_mask.mp4", _masks(size=(48, 64)))
    assert any("another shape" in n for n in open_source([tmp_path], CaptureOptions()).facts["notes"])


def test_a_camera_called_alpha_stays_one(tmp_path: Path) -> None:
    for name in ("rig.mp4", "rig_alpha.mp4"):
        files.write_video(tmp_path / name, files.noise(COUNT))
    assert [v.name for v in open_source([tmp_path], CaptureOptions(synchronise="none")).views] == ["rig", "rig_alpha"]


def test_small_copies_and_depth_are_named(tmp_path: Path) -> None:
    names = ("DJI_0001.mp4", "DJI_0001_proxy.mp4", "DJI_0001_depth.mp4")
    for name in names:
        files.write_video(tmp_path / name, files.noise(COUNT))
    source = open_source([tmp_path], CaptureOptions())
    assert [v.name for v in source.views] == ["DJI_0001"]
    assert sum("beside DJI_0001.mp4, not read" in n for n in source.facts["notes"]) == 2
    assert roles_of({"proxy": Path("proxy.mp4"), "a": Path("a.mp4"), "b": Path("b.mp4")}).cameras.keys() == {"proxy", "a", "b"}


def test_chapters_of_one_recording_are_no_two_cameras(tmp_path: Path) -> None:
    for name in ("GX010042.MP4", "GX020042.MP4", "GX010043.MP4"):
        files.write_video(tmp_path / name, files.noise(3))
    with pytest.raises(FourfoldError, match=r"GX010042.MP4, GX020042.MP4 are chapters of one GoPro recording"):
        open_source([tmp_path], CaptureOptions())
    (tmp_path / "GX020042.MP4").unlink()
    assert len(open_source([tmp_path], CaptureOptions(synchronise="none")).views) == 2


def test_a_live_photo_is_its_film(tmp_path: Path) -> None:
    files.write_video(tmp_path / "IMG_1.mov", files.noise(COUNT))
    files.write_images(tmp_path, files.noise(1), "IMG_1.jpg")
    source = open_source([tmp_path], CaptureOptions())
    assert (source.layout, len(source.timestamps)) == ("video", COUNT)
    assert "found 1 image in the folder, not read: the films are" in source.facts["notes"]


def test_a_film_beside_its_images_is_named(tmp_path: Path) -> None:
    files.write_video(tmp_path / "clip.mp4", files.noise(COUNT))
    files.write_images(tmp_path / "images", files.noise(4))
    assert "found 4 images in images, not read: the films are" in open_source([tmp_path], CaptureOptions()).facts["notes"]
    files.write_images(tmp_path, files.noise(4))
    source = open_source([tmp_path], CaptureOptions())
    assert source.layout == "images" and any(n.startswith("found clip.mp4, not read: the images are") for n in source.facts["notes"])


@pytest.mark.parametrize("folder", ["masks", "clip_masks", "masks/clip"])
def test_masks_of_a_film_in_a_folder(tmp_path: Path, folder: str) -> None:
    files.write_video(tmp_path / "clip.mp4", files.noise(COUNT))
    files.write_images(tmp_path / folder, [np.where(_disk(n), 255, 0).astype(np.uint8) for n in range(COUNT)], "{:04d}.png")
    view = open_source([tmp_path], CaptureOptions()).views[0]
    assert view.masks is not None
    np.testing.assert_array_equal(next(iter(view.masks.decode([5]))) > 0, _disk(5))
    (tmp_path / folder / "0007.png").unlink()
    source = open_source([tmp_path], CaptureOptions())
    assert source.views[0].masks is None and f"found {folder}, not read: it holds 7 masks for 8 frames of clip.mp4" in source.facts["notes"]


def test_masks_in_one_array_or_a_folder_per_object_are_named(tmp_path: Path) -> None:
    files.write_images(tmp_path / "images", files.noise(COUNT))
    np.save(tmp_path / "masks.npy", np.zeros((COUNT, 48, 64), bool))
    for name in ("1", "2"):
        files.write_images(tmp_path / "masks" / name, [np.zeros((48, 64), np.uint8)] * COUNT)
    notes = open_source([tmp_path], CaptureOptions()).facts["notes"]
    assert any(n.startswith("found masks.npy (masks of all images in one array), not read") for n in notes)
    assert any(n.startswith("found masks with folders in it, not read: call it sam2") for n in notes)


@pytest.mark.parametrize(("second", "said"), [("10:07:00", "begins 419 s after a.mov ends"), ("10:00:00", ""), ("09:59:59", "")])
def test_films_made_one_after_the_other_are_told(tmp_path: Path, second: str, said: str) -> None:
    for name, clock in (("a.mov", "10:00:00"), ("b.mov", second)):
        files.write_video(tmp_path / name, files.noise(COUNT), metadata={"creation_time": f"2026-05-01T{clock}.000000Z"})
    notes = str(open_source([tmp_path], CaptureOptions(synchronise="none")).facts.get("notes", ""))
    assert said in notes and ("by their clocks" in notes) == bool(said)
