"""Images of more than eight bits keep their levels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import capture_files as files
from fourfold.capture.discover import open_source
from fourfold.capture.frames import load_image
from fourfold.capture.source import CaptureOptions


def _ramp() -> NDArray[np.uint8]:
    image = np.arange(64 * 48 * 3, dtype=np.int64).reshape(48, 64, 3) * 7 % 256
    return image.astype(np.uint8)


def _frames(folder: Path) -> list[NDArray[np.uint8]]:
    view = open_source([folder], CaptureOptions()).views[0]
    return list(view.frames.decode(range(len(view.frames))))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("colour", [True, False])
def test_sixteen_bits(tmp_path: Path, suffix: str, colour: bool) -> None:
    image = _ramp() if colour else _ramp()[..., :1].repeat(3, 2)
    deep = image.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / f"a{suffix}"), deep[..., ::-1] if colour else deep[..., 0])
    np.testing.assert_array_equal(load_image(tmp_path / f"a{suffix}"), image)


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_floating_point_lists_have_one_white(tmp_path: Path, white: float) -> None:
    """A dark frame stays dark, and a frame with an overshoot does not turn black."""
    levels = [_ramp(), _ramp() // 8, _ramp()]
    for number, image in enumerate(levels):
        values = (image / 255.0 * white).astype(np.float32)
        if number == 2:
            values[0, 0] *= 1.2
            values[0, 1] = np.nan
        cv2.imwrite(str(tmp_path / f"{number}.tif"), values[..., ::-1])
    got = _frames(tmp_path)
    np.testing.assert_array_equal(got[0], levels[0])
    np.testing.assert_array_equal(got[1], levels[1])
    np.testing.assert_array_equal(got[2][1:], levels[2][1:])
    assert (got[2][0, 1] == 0).all()


def test_grey_floating_point_by_pillow(tmp_path: Path) -> None:
    for number in range(2):
        Image.fromarray((_ramp()[..., 0] / 255.0).astype(np.float32), mode="F").save(tmp_path / f"{number}.tiff")
    np.testing.assert_array_equal(_frames(tmp_path)[0], _ramp()[..., :1].repeat(3, 2))


def test_eight_bit_tiff_is_as_before(tmp_path: Path) -> None:
    files.write_images(tmp_path, [_ramp(), _ramp()], "{}.tif")
    np.testing.assert_array_equal(_frames(tmp_path)[1], _ramp())
