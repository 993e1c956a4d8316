"""Focal lengths named by EXIF and by a phone's movie metadata, against the definition of the 35 mm equivalent."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

import capture_files as files
from fourfold.capture import prepare_capture
from fourfold.capture.discover import open_source
from fourfold.capture.reduced import reduce_capture
from fourfold.capture.source import CaptureOptions


def _photos(folder: Path, exif: dict[int, object], size: tuple[int, int] = (96, 72), orientation: int = 1) -> Path:
    folder.mkdir()
    for number, image in enumerate(files.noise(3, *size)):
        photo = Image.fromarray(image)
        tags = photo.getexif()
        tags[0x8769], tags[0x0112] = exif, orientation
        photo.save(folder / f"IMG_{number}.jpg", exif=tags)
    return folder


def _named(path: Path) -> float:
    return open_source([path], CaptureOptions()).views[0].focal_hint


def test_35mm_equivalent_means_the_same_angle_over_the_diagonal(tmp_path: Path) -> None:
    # 4:3 of 96 x 72 has a diagonal of 120 pixels: 24 mm on a film of 43.267 mm.
    assert _named(_photos(tmp_path / "a", {0x920A: 6.86, 0xA405: 24})) == pytest.approx(120 * 24 / 43.267, rel=1e-6)
    assert _named(_photos(tmp_path / "turned", {0xA405: 24}, orientation=6)) == pytest.approx(120 * 24 / 43.267, rel=1e-6)


def test_focal_plane_resolution_where_the_equivalent_is_missing(tmp_path: Path) -> None:
    # 4000 pixels over 22.3 mm, stored per inch, an 18 mm lens; the image was reduced from 4000 to 96 pixels.
    exif = {0x920A: 18.0, 0xA20E: IFDRational(4000 * 254, 223), 0xA210: 2, 0xA002: 4000, 0xA003: 3000}
    assert _named(_photos(tmp_path / "a", exif)) == pytest.approx(18 / 22.3 * 96, rel=1e-3)


@pytest.mark.parametrize(
    "exif",
    [
        {},
        {0x920A: 6.86},  # millimetres alone say nothing without the sensor
        {0xA405: 0},
        {0xA405: 24, 0xA002: 4000, 0xA003: 2000},  # cropped since: another picture than the tags tell of
    ],
)
def test_no_focal_length_is_made_up(tmp_path: Path, exif: dict[int, object]) -> None:
    assert np.isnan(_named(_photos(tmp_path / "a", exif)))


def test_a_zoomed_list_of_images_names_none(tmp_path: Path) -> None:
    folder = _photos(tmp_path / "a", {0xA405: 24})
    photo = Image.open(folder / "IMG_0.jpg")
    tags = photo.getexif()
    tags[0x8769] = {0xA405: 48}
    photo.save(folder / "IMG_3.jpg", exif=tags)
    assert np.isnan(_named(folder))


@pytest.mark.parametrize(("kind", "value"), [(21, struct.pack(">i", 26)), (1, b"26.00mm"), (23, struct.pack(">f", 26.0))])
def test_the_metadata_of_a_phones_video(tmp_path: Path, kind: int, value: bytes) -> None:
    path = files.write_video(tmp_path / "IMG_1.mov", files.grey_ramp(4, 64, 48))
    files.with_track_metadata(path, b"com.apple.quicktime.camera.focal_length.35mm_equivalent", kind, value)
    assert _named(path) == pytest.approx(80 * 26 / 43.267, rel=1e-6)


def test_the_hint_follows_the_stored_size(tmp_path: Path) -> None:
    folder = _photos(tmp_path / "a", {0xA405: 24})
    capture = prepare_capture([folder], tmp_path / "out", pixels=48 * 36)
    assert capture.sizes.tolist() == [[48, 36]]
    assert capture.focal_hint[0] == pytest.approx(60 * 24 / 43.267, rel=1e-6)
    assert reduce_capture(capture, 24).focal_hint[0] == pytest.approx(30 * 24 / 43.267, rel=1e-6)
    assert "24 mm in 35 mm terms" in capture.facts["focal_length_named"]["a"]
    again = open_source([tmp_path / "out"], CaptureOptions())
    assert again.views[0].focal_hint == pytest.approx(capture.focal_hint[0])


def test_damaged_boxes_are_no_error(tmp_path: Path) -> None:
    from fourfold.capture.boxes import metadata, movie_index

    path = tmp_path / "a.mov"
    for content in (
        b"",
        b"\0\0\0\1moov",
        b"\0\0\0\4moov",
        b"\0\0\0\1ftyp" + b"\xff" * 16,  # a size that no file has
        files.box(b"moov", files.box(b"meta", b"\0\0\0\0" + files.box(b"ilst", b"\0\0\0\x10abcdefgh"))),
    ):
        path.write_bytes(content)
        assert metadata(movie_index(path)) == {}
