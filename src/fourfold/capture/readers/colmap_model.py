"""COLMAP's sparse model files, binary and text: cameras and images (the points are not needed).

Source: the file format in COLMAP's documentation. `qvec` is w x y z and, with `tvec`, world to camera; pixel centres are at +0.5.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import LARGEST_SIDE
from fourfold.capture.lens import STRAIGHT, Lens, fisheye, pinhole
from fourfold.capture.source import intrinsics, world_to_camera_of
from fourfold.errors import FourfoldError
from fourfold.untrusted.files import is_file, read_bytes, read_text

MODEL_PLACES = ("sparse", "sparse_", "colmap/sparse", "colmap", "dense/sparse", "dense/0/sparse", "distorted/sparse", "")
MOST_BINARY = 1 << 30  # bytes; a model lists every point of every image
_Meaning = Callable[[Sequence[float]], tuple[tuple[float, float, float, float], Lens]]

# By COLMAP's model number: name, number of parameters, and (fx, fy, cx, cy) with the lens they mean.
MODELS: dict[int, tuple[str, int, _Meaning]] = {
    0: ("SIMPLE_PINHOLE", 3, lambda p: ((p[0], p[0], p[1], p[2]), STRAIGHT)),
    1: ("PINHOLE", 4, lambda p: ((p[0], p[1], p[2], p[3]), STRAIGHT)),
    2: ("SIMPLE_RADIAL", 4, lambda p: ((p[0], p[0], p[1], p[2]), pinhole(p[3]))),
    3: ("RADIAL", 5, lambda p: ((p[0], p[0], p[1], p[2]), pinhole(p[3], p[4]))),
    4: ("OPENCV", 8, lambda p: ((p[0], p[1], p[2], p[3]), pinhole(*p[4:8]))),
    5: ("OPENCV_FISHEYE", 8, lambda p: ((p[0], p[1], p[2], p[3]), fisheye(*p[4:8]))),
    6: ("FULL_OPENCV", 12, lambda p: ((p[0], p[1], p[2], p[3]), pinhole(*p[4:9], further=(p[9], p[10], p[11])))),
    8: ("SIMPLE_RADIAL_FISHEYE", 4, lambda p: ((p[0], p[0], p[1], p[2]), fisheye(p[3]))),
    9: ("RADIAL_FISHEYE", 5, lambda p: ((p[0], p[0], p[1], p[2]), fisheye(p[3], p[4]))),
}


@dataclass(frozen=True)
class ModelCamera:
    """K (3, 3), pixel centres at +0.5, and lens for images of `size` (width, height)."""

    size: tuple[int, int]
    K: NDArray[np.float64]
    lens: Lens


@dataclass(frozen=True)
class ModelImage:
    """One registered image: its file name, its camera and world_to_camera (4, 4)."""

    name: str
    camera: ModelCamera
    world_to_camera: NDArray[np.float64]


@dataclass(frozen=True)
class Models:
    """The folders of the models that COLMAP left in one place, the largest first, with the numbers of their images."""

    folders: tuple[Path, ...]
    images: tuple[int, ...]

    @property
    def told(self) -> str | None:
        """What to say where there are several."""
        if len(self.folders) < 2:
            return None
        others = ", ".join(f"{f.name} with {n}" for f, n in zip(self.folders[1:], self.images[1:], strict=True))
        read = f"{self.folders[0].name} with {self.images[0]} images is read"
        return f"COLMAP left {len(self.folders)} models that do not hang together: {read}, {others} not"


def models_in(root: Path) -> Models | None:
    """The models in the first of the usual places that has any: in it, or in its folders 0, 1, ..."""
    for name in MODEL_PLACES:
        place = root / name
        inside = [p for p in place.iterdir() if p.is_dir() and p.name.isdigit()] if name and place.is_dir() else []
        found = [folder for folder in [*sorted(inside, key=lambda p: int(p.name)), place] if _is_model(folder)]
        if found:
            counts = [_registered(folder) for folder in found]
            order = sorted(range(len(found)), key=lambda i: -counts[i])
            return Models(tuple(found[i] for i in order), tuple(counts[i] for i in order))
    return None


def model_folder(root: Path) -> Path | None:
    """The folder with `cameras.bin|txt` and `images.bin|txt` among the usual places; of several models the largest."""
    models = models_in(root)
    return None if models is None else models.folders[0]


def _is_model(folder: Path) -> bool:
    return any(is_file(folder / f"cameras{s}") and is_file(folder / f"images{s}") for s in (".bin", ".txt"))


def _registered(folder: Path) -> int:
    """How many images a model states; 0 where that cannot be read."""
    try:
        if (folder / "images.bin").is_file():
            with (folder / "images.bin").open("rb") as file:
                return struct.unpack("<Q", file.read(8))[0]
        return len(_images_text(folder / "images.txt"))
    except (OSError, struct.error, ValueError, IndexError, FourfoldError):
        return 0


def load_images(folder: Path) -> list[ModelImage]:
    """All registered images. FourfoldError if a file is cut short, malformed, or of a camera model that is not known."""
    suffix = ".bin" if (folder / "images.bin").is_file() else ".txt"
    path = folder / f"cameras{suffix}"
    try:
        cameras = _cameras_binary(path) if suffix == ".bin" else _cameras_text(path)
        path = folder / f"images{suffix}"
        rows = _images_binary(path) if suffix == ".bin" else _images_text(path)
        return [ModelImage(name, cameras[camera], world_to_camera_of(rotation_of(q), np.array(t))) for name, camera, q, t in rows]
    except (struct.error, ValueError, IndexError, KeyError, OverflowError) as error:
        raise FourfoldError(f"{path} cannot be read as a COLMAP model ({type(error).__name__}: {error}): export it again") from error


def rotation_of(quat_wxyz: Sequence[float]) -> NDArray[np.float64]:
    """(3, 3) rotation of a quaternion of any length. ValueError if it has none."""
    length = float(np.linalg.norm(quat_wxyz))
    if not 1e-9 < length < 1e9:
        raise ValueError(f"a rotation of length {length:g}")
    w, x, y, z = np.asarray(quat_wxyz, dtype=np.float64) / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


_Row = tuple[str, int, Sequence[float], Sequence[float]]


def _camera(model: int, size: tuple[int, int], parameters: Sequence[float], path: Path) -> ModelCamera:
    if model not in MODELS:
        raise FourfoldError(f"{path} has a camera of model number {model}: undistort the images with COLMAP first")
    if len(parameters) != MODELS[model][1] or not np.isfinite(parameters).all():
        raise FourfoldError(f"{path} has a {MODELS[model][0]} camera with the parameters {list(parameters)}: expected {MODELS[model][1]} numbers")
    if not (0 < size[0] <= LARGEST_SIDE and 0 < size[1] <= LARGEST_SIDE):
        raise FourfoldError(f"{path} has a camera of {size[0]}x{size[1]} pixels: export the model again")
    focal_center, lens = MODELS[model][2](parameters)
    return ModelCamera(size, intrinsics(*focal_center), lens)


def _cameras_binary(path: Path) -> dict[int, ModelCamera]:
    data, cameras = read_bytes(path, MOST_BINARY), {}
    (count,), at = struct.unpack_from("<Q", data), 8
    for _ in range(_possible(count, data, 32)):
        number, model, width, height = struct.unpack_from("<iiQQ", data, at)
        at += 24
        parameters = struct.unpack_from(f"<{MODELS[model][1] if model in MODELS else 0}d", data, at)
        at += 8 * len(parameters)
        cameras[number] = _camera(model, (width, height), parameters, path)
    return cameras


def _images_binary(path: Path) -> list[_Row]:
    data, rows = read_bytes(path, MOST_BINARY), []
    (count,), at = struct.unpack_from("<Q", data), 8
    for _ in range(_possible(count, data, 73)):
        _, *pose, camera = struct.unpack_from("<i7di", data, at)
        end = data.index(b"\0", at + 64)
        rows.append((data[at + 64 : end].decode(), camera, pose[:4], pose[4:]))
        (points,) = struct.unpack_from("<Q", data, end + 1)
        at = end + 9 + 24 * points
        if at > len(data):
            raise ValueError(f"cut short: an image states {points} points and the file ends before")
    return rows


def _possible(count: int, data: bytes, least: int) -> int:
    """`count` entries of `least` bytes or more. ValueError if the file cannot hold as many."""
    if count * least > len(data):
        raise ValueError(f"cut short: it states {count} entries and has {len(data)} bytes")
    return count


def _cameras_text(path: Path) -> dict[int, ModelCamera]:
    numbers, cameras = {name: number for number, (name, _, _) in MODELS.items()}, {}
    for words in (line.split() for line in read_text(path, MOST_BINARY).splitlines() if line.strip() and not line.startswith("#")):
        if words[1] not in numbers:
            raise FourfoldError(f"{path} has a camera of model {words[1]}: undistort the images with COLMAP first")
        cameras[int(words[0])] = _camera(numbers[words[1]], (int(words[2]), int(words[3])), [float(w) for w in words[4:]], path)
    return cameras


def _images_text(path: Path) -> list[_Row]:
    lines = [line for line in read_text(path, MOST_BINARY).splitlines() if not line.startswith("#")]
    while lines and not lines[0].strip():
        lines.pop(0)
    rows = []
    for line in lines[::2]:  # every second line lists the image's points and may be empty
        words = line.split(maxsplit=9)
        if words:
            rows.append((words[9].strip(), int(words[8]), [float(w) for w in words[1:5]], [float(w) for w in words[5:8]]))
    return rows
