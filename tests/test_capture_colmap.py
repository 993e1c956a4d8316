"""COLMAP models in both of their forms, where their images lie, and what is damaged."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import capture_files as files
from fourfold.capture import CaptureOptions
from fourfold.capture.discover import open_source
from fourfold.capture.source import Source


def _open(path: Path) -> Source:
    return open_source([path], CaptureOptions())


QUAT = np.array([0.9, 0.1, -0.3, 0.2]) / np.linalg.norm([0.9, 0.1, -0.3, 0.2])


def _colmap_text(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    (folder / "cameras.txt").write_text("# cameras\n4 OPENCV 128 96 100 102 63 47 -0.05 0.01 0.001 0.002\n")
    q, rows = " ".join(map(str, QUAT)), []
    for i, name in enumerate(names):
        rows += [f"{i + 1} {q} {0.1 * i} 0.2 0.3 4 {name}", "" if i % 2 else "10 20 -1 30 40 7"]
    (folder / "images.txt").write_text("# images\n" + "\n".join(rows) + "\n")


def _colmap_binary(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cameras.bin").write_bytes(struct.pack("<QiiQQ8d", 1, 4, 4, 128, 96, 100, 102, 63, 47, -0.05, 0.01, 0.001, 0.002))
    data = struct.pack("<Q", len(names))
    for i, name in enumerate(names):
        data += struct.pack("<i7di", i + 1, *QUAT, 0.1 * i, 0.2, 0.3, 4) + name.encode() + b"\0"
        data += struct.pack("<Q", i) + struct.pack("<ddq", 1.0, 2.0, -1) * i
    (folder / "images.bin").write_bytes(data)


@pytest.mark.parametrize("write", [_colmap_text, _colmap_binary])
def test_colmap(tmp_path: Path, write: Any) -> None:
    root = tmp_path / "scene"
    files.write_images(root / "images", files.noise(4))
    write(root / "sparse" / "0", ["00002.png", "00000.png", "00003.png", "gone.png"])
    source = _open(root)
    view = source.views[0]
    assert (len(source.views), len(source.timestamps), source.cameras) == (1, 3, "given")
    from scipy.spatial.transform import Rotation

    rotation = Rotation.from_quat(np.roll(QUAT, -1)).as_matrix()
    np.testing.assert_allclose(view.world_to_camera[:, :3, :3], [rotation] * 3, atol=1e-12)
    np.testing.assert_allclose(view.world_to_camera[:, :3, 3], [[0.1, 0.2, 0.3], [0, 0.2, 0.3], [0.2, 0.2, 0.3]], atol=1e-12)
    np.testing.assert_allclose(view.K[0], [[50, 0, 31.5], [0, 51, 23.5], [0, 0, 1]])
    assert view.lens(0).coefficients == (-0.05, 0.01, 0.001, 0.002, 0.0)


@pytest.mark.parametrize(
    ("model", "images"), [("dense/sparse", "dense/images"), ("dense/0/sparse", "dense/0/images"), ("distorted/sparse/0", "input"), ("", "images")]
)
def test_a_colmap_models_images_lie_beside_it(tmp_path: Path, model: str, images: str) -> None:
    files.write_images(tmp_path / images, files.noise(3))
    if model.startswith("dense"):
        files.write_images(tmp_path / "images", files.noise(3, seed=1))  # those before they were straightened
    _colmap_binary(tmp_path / model, ["00000.png", "00001.png", "00002.png"])
    view = _open(tmp_path).views[0]
    np.testing.assert_array_equal(next(iter(view.frames.decode([1]))), files.noise(3)[1])


def test_colmap_with_a_folder_per_camera_and_a_cut_file(tmp_path: Path) -> None:
    root = tmp_path / "scene"
    for name in ("a", "b"):
        files.write_images(root / "images" / name, files.noise(3))
    _colmap_binary(root / "sparse", ["a/00000.png", "b/00000.png", "b/00002.png"])
    source = _open(root)
    assert [v.name for v in source.views] == ["a", "b"]
    assert [v.present.tolist() for v in source.views] == [[True, False], [True, True]]
    path = root / "sparse" / "images.bin"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(Exception, match="cannot be read as a COLMAP model"):
        _open(root)


FISHEYE, RADIAL = (0.05, -0.01, 0.0, 0.0), -0.2


def _two_lenses(folder: Path, binary: bool) -> None:
    """An OPENCV_FISHEYE camera with `left/`, a SIMPLE_RADIAL one with `right/`, two images each."""
    folder.mkdir(parents=True)
    fisheye, radial = (50.0, 51.0, 32.0, 24.0, *FISHEYE), (50.0, 32.0, 24.0, RADIAL)
    names = [f"{side}/{n:05d}.png" for side in ("left", "right") for n in range(2)]
    if binary:
        cameras = struct.pack("<Q", 2) + struct.pack("<iiQQ8d", 1, 5, 64, 48, *fisheye) + struct.pack("<iiQQ4d", 2, 2, 64, 48, *radial)
        images = struct.pack("<Q", 4)
        for n, name in enumerate(names):
            images += struct.pack("<i7di", n + 1, 1, 0, 0, 0, 0.1 * n, 0, 0, 1 + n // 2) + name.encode() + b"\0" + struct.pack("<Q", 0)
        (folder / "cameras.bin").write_bytes(cameras)
        (folder / "images.bin").write_bytes(images)
        return
    rows = [("1 OPENCV_FISHEYE", fisheye), ("2 SIMPLE_RADIAL", radial)]
    (folder / "cameras.txt").write_text("".join(f"{name} 64 48 {' '.join(map(str, values))}\n" for name, values in rows))
    (folder / "images.txt").write_text("".join(f"{n + 1} 1 0 0 0 {0.1 * n} 0 0 {1 + n // 2} {name}\n\n" for n, name in enumerate(names)))


@pytest.mark.parametrize("binary", [True, False])
def test_each_camera_keeps_its_own_lens(tmp_path: Path, binary: bool) -> None:
    for side in ("left", "right"):
        files.write_images(tmp_path / "images" / side, files.noise(2))
    _two_lenses(tmp_path / "sparse" / "0", binary)
    left, right = _open(tmp_path).views
    assert (left.lens(0).model, left.lens(0).coefficients[:4]) == ("fisheye", FISHEYE)
    assert right.lens(0).model == "pinhole" and right.lens(0).coefficients[0] == RADIAL and not any(right.lens(0).coefficients[1:])
    np.testing.assert_allclose(left.K[0], [[50, 0, 32], [0, 51, 24], [0, 0, 1]])
    np.testing.assert_allclose(right.K[0], [[50, 0, 32], [0, 50, 24], [0, 0, 1]])
