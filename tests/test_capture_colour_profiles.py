"""Photos in the colours of an ICC profile against the closed form of its primaries and curve."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from fourfold.capture.colour import between, encoded, light_of
from fourfold.capture.colour_profiles import profile_words
from fourfold.capture.frames import load_image
from fourfold.capture.inspect import inspect

COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (128, 128, 128), (200, 150, 120), (40, 80, 160), (20, 20, 20)], np.uint8)
# Display P3 adapted to D50, as Apple's profile states it (ICC.1:2022 has all colours in D50).
P3_COLUMNS = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def _fixed(values: tuple[float, ...]) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))


def _profile(columns: tuple[tuple[float, ...], ...] = P3_COLUMNS, name: str = "Display P3") -> bytes:
    """An ICC profile of version 4 with a matrix and sRGB's curve, after ICC.1:2022, sections 7 and 10."""
    text = b"mluc" + struct.pack(">4xII2s2sII", 1, 12, b"en", b"US", 2 * len(name), 28) + name.encode("utf-16-be")
    curve = b"para" + struct.pack(">4xHxx", 3) + _fixed(SRGB_CURVE)
    xyz = [b"XYZ " + struct.pack(">4x") + _fixed(c) for c in (*columns, (0.9642, 1.0, 0.8249))]
    tags = [(b"desc", text), (b"cprt", text), *zip((b"rXYZ", b"gXYZ", b"bXYZ", b"wtpt"), xyz, strict=True)]
    tags += [(b"rTRC", curve), (b"gTRC", curve), (b"bTRC", curve)]
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for kind, data in tags:
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", kind, at + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"lcms", 0x04300000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp" + bytes(28)
    head += _fixed((0.9642, 1.0, 0.8249)) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + body


def _photos(folder: Path, profile: bytes | None, mode: str = "RGB", suffix: str = ".png") -> Path:
    folder.mkdir()
    for number in range(3):
        image = Image.fromarray(np.repeat(COLOURS[None], 20, 0)).convert(mode)
        image.save(folder / f"{number}{suffix}", **({} if profile is None else {"icc_profile": profile}))
    return folder


def test_display_p3_becomes_srgb(tmp_path: Path) -> None:
    folder = _photos(tmp_path / "a", _profile())
    light = light_of(COLOURS / 255.0, "sdr") @ between("p3", "bt709").T
    expected = 255 * encoded(np.clip(light, 0, 1))
    assert np.abs(expected - COLOURS).max() > 15  # it matters
    np.testing.assert_allclose(load_image(folder / "0.png")[0], expected, atol=2)
    assert "colours of the profile 'Display P3' brought to sRGB" in inspect(folder)["facts"]["notes"]


def test_opacity_is_no_colour(tmp_path: Path) -> None:
    folder = _photos(tmp_path / "a", _profile(), "RGBA")
    image = load_image(folder / "0.png")
    assert image.shape[2] == 4 and (image[..., 3] == 255).all() and abs(int(image[0, 4, 0]) - 128) <= 1


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("profile", [None, b"", b"not a profile", _profile()[:200], SRGB])
def test_other_photos_stay(tmp_path: Path, profile: bytes | None) -> None:
    folder = _photos(tmp_path / "a", profile)
    np.testing.assert_array_equal(load_image(folder / "0.png")[0], COLOURS)
    assert profile_words(folder / "0.png") == ""


def test_a_profile_of_another_kind_of_image_is_left(tmp_path: Path) -> None:
    folder = _photos(tmp_path / "a", _profile(), "L")
    assert load_image(folder / "0.png").shape == (20, 8, 3)
