"""Photos in the colours of an ICC profile against the closed form of its primaries and curve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from colour_profile import display_p3
from fourfold.capture.colour_profiles import profile_words
from fourfold.capture.frames import load_image
from fourfold.capture.inspect import inspect

COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (128, 128, 128), (200, 150, 120), (40, 80, 160), (20, 20, 20)], np.uint8)
# Linear Display P3 to linear BT.709, from the chromaticities of SMPTE EG 432-1 and BT.709, both of D65.
P3_TO_709 = np.array([[1.22494, -0.22494, 0.0], [-0.04206, 1.04206, 0.0], [-0.01964, -0.07864, 1.09827]])


def _photos(folder: Path, profile: bytes | None, mode: str = "RGB", suffix: str = ".png") -> Path:
    folder.mkdir()
    for number in range(3):
        image = Image.fromarray(np.repeat(COLOURS[None], 20, 0)).convert(mode)
        image.save(folder / f"{number}{suffix}", **({} if profile is None else {"icc_profile": profile}))
    return folder


def test_display_p3_becomes_srgb(tmp_path: Path) -> None:
    folder = _photos(tmp_path / "a", display_p3())
    signal = COLOURS / 255.0
    light = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4) @ P3_TO_709.T
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.clip(light, 1e-9, 1) ** (1 / 2.4) - 0.055).clip(0)
    assert np.abs(expected - COLOURS).max() > 15  # it matters
    np.testing.assert_allclose(load_image(folder / "0.png")[0], expected, atol=2)
    assert "colours of the profile 'Display P3' brought to sRGB" in inspect(folder)["facts"]["notes"]


def test_opacity_is_no_colour(tmp_path: Path) -> None:
    folder = _photos(tmp_path / "a", display_p3(), "RGBA")
    image = load_image(folder / "0.png")
    assert image.shape[2] == 4 and (image[..., 3] == 255).all() and abs(int(image[0, 4, 0]) - 128) <= 1


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("profile", [None, b"", b"not a profile", display_p3()[:200], SRGB])
def test_other_photos_stay(tmp_path: Path, profile: bytes | None) -> None:
    folder = _photos(tmp_path / "a", profile)
    np.testing.assert_array_equal(load_image(folder / "0.png")[0], COLOURS)
    assert profile_words(folder / "0.png") == ""


def test_a_profile_of_another_kind_of_image_is_left(tmp_path: Path) -> None:
    folder = _photos(tmp_path / "a", display_p3(), "L")
    assert load_image(folder / "0.png").shape == (20, 8, 3)
