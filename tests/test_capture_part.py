"""Which part is taken and when images were taken: seconds and frames against what the files were made from."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import capture_files as files
from fourfold.capture import prepare_capture
from fourfold.capture.discover import open_source
from fourfold.capture.inspect import inspect
from fourfold.capture.part import at_rate
from fourfold.capture.source import CaptureOptions
from fourfold.errors import FourfoldError


def _times(path: Path, **options: object) -> np.ndarray:
    return open_source([path], CaptureOptions(**options)).timestamps  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.write_video(tmp_path_factory.mktemp("film") / "clip.mp4", files.grey_ramp(60), fps=30)


def test_a_part_of_a_film(film: Path, tmp_path: Path) -> None:
    np.testing.assert_allclose(_times(film, fps=10), np.arange(20) / 10, atol=1e-6)
    np.testing.assert_allclose(_times(film, fps=12), np.ceil(np.arange(24) * 2.5 - 0.5) / 30, atol=1e-6)
    np.testing.assert_allclose(_times(film, fps=60), np.arange(60) / 30, atol=1e-6)
    np.testing.assert_allclose(_times(film, start=0.5, end=1.0, every=5), [0.5, 15 / 30 + 5 / 30, 15 / 30 + 10 / 30], atol=1e-6)
    assert len(_times(film, max_frames=25)) == 20
    assert len(_times(film, max_frames=60)) == 60
    assert inspect(film, CaptureOptions(start=1.0))["facts"]["notes"] == ["30 of 60 moments are taken, from 1.00 s to 1.97 s"]
    capture = prepare_capture([film], tmp_path / "out", pixels=10_000, options=CaptureOptions(start=1.0, fps=10))
    assert capture.facts["frame_names"] == [[f"{n:05d}" for n in range(30, 60, 3)]]
    true = [files.grey_ramp(60)[n].mean() for n in range(30, 60, 3)]
    np.testing.assert_allclose([capture.image(0, t).mean() for t in range(10)], true, atol=3)


def test_a_rate_of_uneven_times_takes_the_nearest() -> None:
    assert at_rate(np.array([0, 0.09, 0.11, 0.3, 0.52, 0.6, 0.9]), 5.0).tolist() == [0, 2, 3, 5, 6]
    assert at_rate(np.arange(5) / 10, 10.0).tolist() == [0, 1, 2, 3, 4]


def test_options_that_cannot_be(film: Path) -> None:
    for wrong in ({"max_frames": 1}, {"every": 0}, {"start": float("nan")}, {"fps": 0.0}, {"fps": float("nan")}, {"end": float("nan")}):
        with pytest.raises(FourfoldError):
            CaptureOptions(**wrong)  # type: ignore[arg-type]


def test_the_rate_of_a_folder_of_images(tmp_path: Path) -> None:
    files.write_images(tmp_path, files.grey_ramp(5))
    np.testing.assert_allclose(_times(tmp_path), np.arange(5) / 30)
    np.testing.assert_allclose(_times(tmp_path, fps=120), np.arange(5) / 120)
    np.testing.assert_allclose(_times(tmp_path, fps=24, every=2), np.arange(0, 5, 2) / 24)


def _named(folder: Path, names: list[str]) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    for name, image in zip(names, files.grey_ramp(len(names)), strict=True):
        Image.fromarray(image).save(folder / name)
    return folder


@pytest.mark.parametrize(
    ("names", "seconds"),
    [
        (["f_0007.png", "f_0008.png", "f_0011.png", "f_0012.png"], [0, 1 / 30, 4 / 30, 5 / 30]),  # two frames are missing
        (["0.png", "5.png", "10.png", "20.png", "25.png"], [0, 1 / 30, 2 / 30, 4 / 30, 5 / 30]),  # every fifth of a film, one missing
        (["IMG_3.png", "IMG_4.png", "extra_9.png"], [0, 1 / 30, 2 / 30]),  # not one series
        (["1305031102.175304.png", "1305031102.211214.png", "1305031102.275326.png"], [0, 0.03591, 0.100022]),  # TUM RGB-D
        (["1403636579763555584.png", "1403636579813555456.png", "1403636579863555584.png"], [0, 0.05, 0.1]),  # EuRoC
        (["PXL_20240131_101500123.jpg", "PXL_20240131_101501623.jpg", "PXL_20240131_101503123.jpg"], [0, 1.5, 3.0]),
        (["2024-01-31 23.59.50.jpg", "2024-01-31 23.59.55.jpg", "2024-02-01 00.00.00.jpg"], [0, 5, 10]),
        (["frame_0.0.png", "frame_0.25.png", "frame_1.5.png"], [0, 0.25, 1.5]),
        (["sh010.1001.png", "sh010.1002.png", "sh010.1003.png"], [0, 1 / 30, 2 / 30]),  # a shot's number, then the frame's
        (["1.1001.png", "1.1002.png", "1.1003.png"], [0, 1 / 30, 2 / 30]),  # no camera takes ten thousand pictures a second
        (["20240131_1.png", "20240131_2.png", "20240131_3.png"], [0, 1 / 30, 2 / 30]),  # a day is no time
        (["20240131_101500_001.png", "20240131_101500_002.png", "20240131_101500_004.png"], [0, 1 / 30, 3 / 30]),  # numbered frames of one moment
    ],
)
def test_times_in_names(tmp_path: Path, names: list[str], seconds: list[float]) -> None:
    np.testing.assert_allclose(_times(_named(tmp_path / "a", names)), seconds, atol=2e-6)
    np.testing.assert_allclose(np.diff(_times(tmp_path / "a", fps=50))[0], 1 / 50)  # a rate that is given stands above names


def test_missing_numbers_and_time_lapses_are_said(tmp_path: Path) -> None:
    notes = inspect(_named(tmp_path / "a", ["1.png", "2.png", "5.png"]))["facts"]["notes"]
    assert notes == ["2 numbers are missing between the first and the last image: gaps in time"]
    notes = inspect(_named(tmp_path / "b", ["2024-01-31 10.00.00.jpg", "2024-01-31 10.00.05.jpg", "2024-01-31 10.00.10.jpg"]))["facts"]["notes"]
    assert "a time lapse with an image every 5 s" in notes[0]


@pytest.mark.parametrize(
    ("name", "text", "seconds"),
    [
        ("timestamps.txt", "0.0\n0.5\n0.75\n", [0, 0.5, 0.75]),
        ("times.txt", "# t [ms]\n100\n140\n200\n", [0, 0.04, 0.1]),
        ("timestamps.csv", "timestamp_ns,filename\n2000000000,b.png\n1000000000,a.png\n4000000000,c.png\n", [0, 1, 3]),
        (
            "rgb.txt",
            "# color images\n# timestamp filename\n1305031102.10 rgb/a.png\n1305031102.15 rgb/b.png\n1305031102.30 rgb/c.png\n",
            [0, 0.05, 0.2],
        ),
        ("timestamps.csv", "frame,timestamp_ms\n0,100\n1,140\n2,200\n", [0, 0.04, 0.1]),
        ("timestamps.csv", "index,name,time\n7,b.png,2.5\n8,a.png,2.0\n9,c.png,4.0\n", [0, 0.5, 2.0]),
        ("times.txt", "0 0.5\n1 0.75\n2 1.5\n", [0, 0.25, 1.0]),  # KITTI and others count the rows
        ("timestamps.txt", "33000000\n66000000\n132000000\n", [0, 0.033, 0.099]),  # nanoseconds by their size
        ("timestamps.txt", "0.0\n0.5\n", [0, 1 / 30, 2 / 30]),  # of other images
        ("timestamps.txt", "3\n2\n1\n", [0, 1 / 30, 2 / 30]),  # times do not run backwards
        ("timestamps.txt", "\n\n,,\nx\n", [0, 1 / 30, 2 / 30]),
    ],
)
def test_a_file_of_times(tmp_path: Path, name: str, text: str, seconds: list[float]) -> None:
    folder = _named(tmp_path / "images", ["a.png", "b.png", "c.png"])
    (tmp_path / name).write_text(text)
    np.testing.assert_allclose(_times(folder), seconds, atol=1e-6)


def _photos(folder: Path, moments: list[str], fractions: list[str]) -> Path:
    folder.mkdir()
    for number, (moment, fraction) in enumerate(zip(moments, fractions, strict=True)):
        image = Image.fromarray(files.grey_ramp(2)[0])
        tags = image.getexif()
        tags[0x8769] = {0x9003: moment} | ({0x9291: fraction} if fraction else {})
        image.save(folder / f"DSC{number}.jpg", exif=tags)
    return folder


def test_times_of_exif(tmp_path: Path) -> None:
    lapse = _photos(tmp_path / "lapse", ["2024:01:31 10:00:00", "2024:01:31 10:00:07", "2024:01:31 10:00:14"], [""] * 3)
    np.testing.assert_allclose(_times(lapse), [0, 7, 14])
    burst = _photos(tmp_path / "burst", ["2024:01:31 10:00:00"] * 3, ["10", "35", "60"])
    np.testing.assert_allclose(_times(burst), [0, 0.25, 0.5], atol=1e-6)
    start = datetime(2024, 1, 31, 10)
    stamps = [(start + timedelta(seconds=i // 4)).strftime("%Y:%m:%d %H:%M:%S") for i in range(13)]
    np.testing.assert_allclose(np.diff(_times(_photos(tmp_path / "seconds", stamps, [""] * 13))), 3 / 12)
    same = _photos(tmp_path / "same", ["2024:01:31 10:00:00"] * 3, [""] * 3)
    np.testing.assert_allclose(_times(same), np.arange(3) / 30)


def test_cameras_are_joined_by_number_or_by_clock(tmp_path: Path) -> None:
    _named(tmp_path / "n/a", ["1.png", "2.png", "3.png", "4.png"])
    _named(tmp_path / "n/b", ["1.png", "3.png", "4.png"])
    source = open_source([tmp_path / "n"], CaptureOptions())
    assert [v.frame_of_time.tolist() for v in source.views] == [[0, 1, 2, 3], [0, -1, 1, 2]]
    _named(tmp_path / "o/a", ["G1.png", "G2.png", "G3.png"])
    _named(tmp_path / "o/b", ["G101.png", "G102.png", "G103.png"])
    source = open_source([tmp_path / "o"], CaptureOptions())
    assert [v.frame_of_time.tolist() for v in source.views] == [[0, 1, 2], [0, 1, 2]]
    _named(tmp_path / "c/a", ["1305031102.00.png", "1305031102.10.png", "1305031102.20.png"])
    _named(tmp_path / "c/b", ["1305031102.09.png", "1305031102.21.png"])
    source = open_source([tmp_path / "c"], CaptureOptions())
    assert [v.frame_of_time.tolist() for v in source.views] == [[1, 2], [0, 1]]
