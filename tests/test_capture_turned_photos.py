"""Photos that EXIF turns, with cameras of their stored pixels: points land on the same pixels of the upright images."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fourfold.capture import CaptureOptions, prepare_capture
from fourfold.capture.discover import open_source
from fourfold.errors import FourfoldError

WIDTH, HEIGHT, COUNT = 120, 80, 4
K = np.array([[110.0, 0, 64], [0, 105, 37], [0, 0, 1]])
BEND = (-0.2, 0.05, 0.01, -0.02)
POINTS = np.random.default_rng(3).uniform((-0.5, -0.3, 2.0), (0.5, 0.3, 3.0), (6, 3))


def _pose(number: int) -> NDArray[np.float64]:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(np.array([0.05 * number, 0.02, 0.1]))[0], (0.1 * number - 0.1, 0.05, 0.2)
    return pose


def _seen(number: int) -> NDArray[np.float64]:
    """(P, 2) pixels of the points in the stored photo, centres at +0.5."""
    pose = _pose(number)
    return cv2.projectPoints(POINTS, cv2.Rodrigues(pose[:3, :3])[0], pose[:3, 3], K, np.array(BEND))[0][:, 0]


def _photos(folder: Path, flag: int) -> None:
    folder.mkdir(parents=True)
    for number in range(COUNT):
        image = Image.fromarray(np.full((HEIGHT, WIDTH, 3), 40 * number + 20, np.uint8))
        tags = image.getexif()
        tags[0x0112] = flag
        image.save(folder / f"{number}.jpg", exif=tags)


def _colmap(root: Path, flag: int) -> Path:
    _photos(root / "images", flag)
    (root / "sparse" / "0").mkdir(parents=True)
    numbers = " ".join(map(repr, map(float, (K[0, 0], K[1, 1], K[0, 2], K[1, 2], *BEND))))
    (root / "sparse/0/cameras.txt").write_text(f"1 OPENCV {WIDTH} {HEIGHT} {numbers}\n")
    rows = []
    for number in range(COUNT):
        pose, axis = _pose(number), cv2.Rodrigues(_pose(number)[:3, :3])[0].ravel()
        angle = float(np.linalg.norm(axis))
        quat = [np.cos(angle / 2), *(np.sin(angle / 2) * axis / angle)]
        rows.append(f"{number + 1} {' '.join(map(repr, map(float, [*quat, *pose[:3, 3]])))} 1 {number}.jpg\n\n")
    (root / "sparse/0/images.txt").write_text("".join(rows))
    return root


def _transforms(root: Path, flag: int, told: bool = True) -> Path:
    _photos(root / "images", flag)
    frames = [
        {"file_path": f"images/{n}.jpg", "transform_matrix": (np.linalg.inv(_pose(n)) @ np.diag([1.0, -1, -1, 1])).tolist()} for n in range(COUNT)
    ]
    head = {"fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2], **dict(zip(("k1", "k2", "p1", "p2"), BEND, strict=True))}
    (root / "transforms.json").write_text(json.dumps(head | ({"w": WIDTH, "h": HEIGHT} if told else {}) | {"frames": frames}))
    return root


def _upright(pixels: NDArray[np.float64], flag: int) -> NDArray[np.float64]:
    """Where Pillow's turn moves pixels to, found by turning an image of their coordinates."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    moved = []
    for plane in (x, y):
        image = Image.fromarray(plane)
        image.getexif()[0x0112] = flag
        moved.append(np.asarray(ImageOps.exif_transpose(image)))
    high, wide = moved[0].shape
    to_y, to_x = np.mgrid[:high, :wide]
    # an affine map, so three pixels of the turned image tell it
    design = np.stack([moved[0].ravel(), moved[1].ravel(), np.ones(moved[0].size)], axis=1)
    affine = np.linalg.lstsq(design, np.stack([to_x.ravel(), to_y.ravel()], axis=1), rcond=None)[0]
    return np.column_stack([pixels - 0.5, np.ones(len(pixels))]) @ affine + 0.5


@pytest.mark.parametrize("flag", [1, 3, 6, 8])
@pytest.mark.parametrize("write", [_colmap, _transforms, lambda root, flag: _transforms(root, flag, told=False)], ids=["COLMAP", "w, h", "no size"])
def test_cameras_turn_with_their_photos(tmp_path: Path, flag: int, write) -> None:
    source = open_source([write(tmp_path, flag)], CaptureOptions())
    view = source.views[0]
    assert view.frames.size == ((HEIGHT, WIDTH) if flag >= 5 else (WIDTH, HEIGHT))
    for number in range(COUNT):
        pose, lens = view.world_to_camera[number], view.lens(number)
        got = cv2.projectPoints(POINTS, cv2.Rodrigues(pose[:3, :3])[0], pose[:3, 3], view.K[number], np.array(lens.coefficients))[0][:, 0]
        np.testing.assert_allclose(got, _upright(_seen(number), flag), atol=1e-3)
    assert any("as EXIF tells" in n for n in source.facts.get("notes", ())) == (flag != 1)


def test_a_mirrored_photo_with_a_camera_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FourfoldError, match="mirrored by its EXIF flag"):
        prepare_capture([_colmap(tmp_path / "a", 5)], tmp_path / "out", pixels=10_000)


def test_a_camera_of_the_upright_size_stays(tmp_path: Path) -> None:
    root = _transforms(tmp_path, 6)
    header = json.loads((root / "transforms.json").read_text())
    (root / "transforms.json").write_text(json.dumps(header | {"w": HEIGHT, "h": WIDTH, "cx": 40, "cy": 60}))
    view = open_source([root], CaptureOptions()).views[0]
    np.testing.assert_allclose(view.K[0], [[110, 0, 40], [0, 105, 60], [0, 0, 1]])
    np.testing.assert_allclose(view.world_to_camera[1], _pose(1), atol=1e-9)
