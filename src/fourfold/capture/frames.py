"""Lists of frames decoded one at a time: image files, masks, depth files, arrays on disk."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fourfold.capture.colour_profiles import in_srgb
from fourfold.capture.deep_images import DEEP_SUFFIXES, deep_image, grey_sixteen, white_of
from fourfold.capture.mask_levels import ANY_LABEL, decide, read_object_mask, read_valid_mask
from fourfold.capture.orientation import UPRIGHT, Orientation
from fourfold.errors import FourfoldError
from fourfold.untrusted.arrays import archive_names, load_archive, load_array
from fourfold.untrusted.exr import load_exr
from fourfold.untrusted.images import HEIF_SUFFIXES, opened_image, reads_heif

EXIF_ORIENTATION = 0x0112
MILLIMETRE = 1e-3
_ALWAYS = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})
IMAGE_SUFFIXES = _ALWAYS | (HEIF_SUFFIXES if reads_heif() else frozenset[str]())


class FrameList(Protocol):
    """Frames known by number, decoded when asked for and never all at once."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of every frame, pixels."""
        ...

    def __len__(self) -> int:
        """How many frames there are."""
        ...

    def decode(self, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
        """The frames `indices` (increasing) one after the other: uint8 (H, W, 3) RGB or (H, W, 4) RGBA, or what the list holds."""
        ...


@dataclass(frozen=True)
class FrameFiles:
    """One file per frame; a missing file (None) is all zeros.

    Attributes:
        paths: one per frame.
        size: width and height every frame must have.
        load: reads one file into (H, W, ...) .
        dtype: of a missing frame.
    """

    paths: tuple[Path | None, ...]
    size: tuple[int, int]
    load: Callable[[Path], NDArray[Any]]
    dtype: str = "uint8"
    fixed_size: bool = True

    def __len__(self) -> int:
        return len(self.paths)

    def decode(self, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
        """The frames `indices`, one after the other. FourfoldError for a frame of another size than the first."""
        width, height = self.size
        for index in indices:
            path = self.paths[index]
            if path is None:
                yield np.zeros((height, width), self.dtype)
                continue
            frame = self.load(path)
            if self.fixed_size and frame.shape[:2] != (height, width):
                got = f"{frame.shape[1]}x{frame.shape[0]}"
                raise FourfoldError(
                    f"{path} is {got}, the other images beside it are {width}x{height}: give images of one size, or one folder per camera"
                )
            yield frame


@dataclass(frozen=True)
class ArrayFrames:
    """Frames in one `.npy` file of shape (T, H, W, ...)."""

    path: Path

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of every frame, pixels."""
        shape = self._open().shape
        return shape[2], shape[1]

    def __len__(self) -> int:
        return self._open().shape[0]

    def decode(self, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
        """The frames `indices`, copied out of the file one after the other."""
        array = self._open()
        for index in indices:
            if index >= len(array):
                raise FourfoldError(f"{self.path} holds {len(array)} frames, frame {index} is asked for: prepare the capture again")
            yield np.array(array[index])

    def _open(self) -> NDArray[Any]:
        array = load_array(self.path, mapped=True)
        if array.ndim not in (3, 4) or 0 in array.shape:
            raise FourfoldError(f"{self.path} has the shape {array.shape}, expected frames of rows and columns: prepare the capture again")
        return array


@dataclass(frozen=True)
class SameFrames:
    """One picture that stands for every frame."""

    image: NDArray[Any]
    count: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self.image.shape[1], self.image.shape[0]

    def __len__(self) -> int:
        return self.count

    def decode(self, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
        """The picture, as often as it is asked for."""
        for _ in indices:
            yield self.image


def image_files(paths: Sequence[Path]) -> FrameFiles:
    """Colour images, all of the size of the first. FourfoldError if there is none or the first cannot be read."""
    if not paths:
        raise FourfoldError("an image list is empty: give at least one image")
    white = white_of(paths)
    return FrameFiles(tuple(paths), image_size(paths[0]), load_image if white is None else partial(load_image, white=white))


def mask_files(paths: Sequence[Path | None], size: tuple[int, int]) -> FrameFiles:
    """Object masks as int8, 0 for a missing file. What their numbers mean is told from a few of them when the capture is opened."""
    return FrameFiles(tuple(paths), size, load_mask, dtype="int8", fixed_size=False)


def label_mask_files(paths: Sequence[Path | None], size: tuple[int, int]) -> FrameFiles:
    """Object masks of a data set that defines them: +1 where a file is above 0, -1 elsewhere, 0 for a missing file."""
    return FrameFiles(tuple(paths), size, load_label_mask, dtype="int8", fixed_size=False)


def valid_mask_files(paths: Sequence[Path | None], size: tuple[int, int]) -> FrameFiles:
    """Files that say which pixels to ignore (off) as uint8 opacity 0 or 255."""
    return FrameFiles(tuple(paths), size, load_valid, fixed_size=False)


def depth_files(paths: Sequence[Path | None], size: tuple[int, int], load: Callable[[Path], NDArray[np.float32]]) -> FrameFiles:
    """Depth along the optical axis as `load` reads it from a file: float32 (H, W), 0 where unknown."""
    return FrameFiles(tuple(paths), size, load, dtype="float32", fixed_size=False)


def stored_size(path: Path) -> tuple[int, int]:
    """Width and height of an image file as its pixels are stored, from its header."""
    deep = _deep_size(path)
    if deep is not None:
        return deep
    with opened_image(path) as image:
        return image.size


def image_size(path: Path) -> tuple[int, int]:
    """Upright width and height of an image file; what turns it may stand behind a PNG's pixels, which are decoded then."""
    deep = _deep_size(path)
    if deep is not None:
        return image_orientation(path).size(deep)
    with opened_image(path) as image:
        return _orientation(image, path).size(image.size)


def _deep_size(path: Path) -> tuple[int, int] | None:
    """Width and height of an image of more than 8 bits, not all of which Pillow opens; None for any other."""
    deep = deep_image(path, None) if path.suffix.lower() in DEEP_SUFFIXES else None
    return None if deep is None else (deep.shape[1], deep.shape[0])


def image_orientation(path: Path) -> Orientation:
    """How the stored pixels of an image file are turned to stand upright; as they are where Pillow cannot open it."""
    try:
        with opened_image(path) as image:
            return _orientation(image, path)
    except FourfoldError:
        return UPRIGHT


def _orientation(image: Image.Image, path: Path) -> Orientation:
    try:
        return Orientation.from_exif(image.getexif().get(EXIF_ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError) as error:  # a PNG's flag may stand behind its pixels
        raise FourfoldError(f"{path} cannot be read as an image ({error}): replace or remove it") from error


def load_image(path: Path, white: float | None = None) -> NDArray[np.uint8]:
    """An image file as uint8 (H, W, 3) sRGB, or (H, W, 4) straight RGBA where the file has opacity; turned upright by its EXIF flag.

    `white` is what number is white in floating-point images, None to see from the file.
    """
    deep = deep_image(path, white)
    if deep is not None:
        return image_orientation(path).apply(deep)
    with opened_image(path) as opened:
        try:
            image = ImageOps.exif_transpose(opened)
            if image.mode in ("I;16", "I;16B", "I"):
                return grey_sixteen(image)
            has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
            return np.asarray(in_srgb(image).convert("RGBA" if has_alpha else "RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise FourfoldError(f"{path} cannot be read as an image ({error}): replace or remove it") from error


def load_mask(path: Path) -> NDArray[np.int8]:
    """An object mask file as int8 (H, W), read as it alone suggests: +1 object, -1 background, 0 undecided."""
    return read_object_mask(path, decide([path]))


def load_label_mask(path: Path) -> NDArray[np.int8]:
    """An object mask file as int8 (H, W): +1 where any channel, or a palette's index, is above 0, else -1."""
    return read_object_mask(path, ANY_LABEL)


def load_valid(path: Path) -> NDArray[np.uint8]:
    """A file whose dark pixels are to be ignored, as uint8 (H, W) 0 or 255."""
    return read_valid_mask(path, decide([path]))


def load_depth(path: Path, scale: float | None) -> NDArray[np.float32]:
    """A depth file times `scale` as float32 (H, W); non-finite and negative values become 0.

    Files are `.npy`, `.npz` with one array, `.exr`, or 16-bit images. Without a `scale` whole numbers are millimetres, others metres, as phones and
    depth cameras write them.
    """
    if path.suffix == ".npy":
        values = load_array(path)
    elif path.suffix == ".npz":
        names = archive_names(path)
        if not names:
            raise FourfoldError(f"{path} holds no array: replace or remove it")
        values = load_archive(path, {names[0]: None})[names[0]]
    elif path.suffix.lower() == ".exr":
        values = load_exr(path)
    else:
        with opened_image(path, "depth") as image:
            values = np.asarray(image)
    if scale is None:
        scale = 1.0 if values.dtype.kind == "f" else MILLIMETRE
    return depth_map(values, scale, path)


def depth_map(values: NDArray[Any], scale: float, what: object) -> NDArray[np.float32]:
    """`values` times `scale` as float32 (H, W); non-finite and negative values become 0. FourfoldError if they are not rows and columns."""
    image = values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values[0] if values.ndim == 3 and values.shape[0] == 1 else values
    if image.ndim != 2 or 0 in image.shape:
        raise FourfoldError(f"{what} has the shape {values.shape}, expected one number per pixel: replace or remove it")
    with np.errstate(over="ignore"):
        depth = image.astype(np.float32) * np.float32(scale)
    return np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which `cam2` comes before `cam10`."""
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def images_in(folder: Path) -> list[Path]:
    """The image files directly inside `folder`, in natural order of their names; empty if there is no such folder."""
    if not folder.is_dir():
        return []
    found = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".") and p.is_file()]
    return sorted(found, key=lambda p: natural(p.name))
