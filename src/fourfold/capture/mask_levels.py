"""What the numbers of a list of mask files mean: labels or levels, in which channel, what is on and what is off.

A mask of an object is +1, -1 or 0; a mask of valid pixels is 255 or 0 (`masks` and `valid` everywhere). Files of either kind are read here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.orientation import UPRIGHT, Orientation
from fourfold.errors import FourfoldError
from fourfold.untrusted.arrays import archive_names, load_archive, load_array
from fourfold.untrusted.images import opened_image

ARRAY_SUFFIXES = frozenset({".npy", ".npz"})
LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".webp"})
LOOKED_AT = 8  # files of a list that decide
LARGEST_LABEL = 32  # a list of whole numbers that go no higher counts objects
FEW = 16  # different numbers; more than that are levels
FRINGE = 0.6  # share of numbers between the lowest and the highest that lie between lower and higher neighbours: then they are levels too
UNDECIDED = 0.05  # of the whole range, to either side of half

Channel = Literal["colour", "alpha"]


@dataclass(frozen=True)
class MaskReading:
    """How one number per pixel becomes on, off or undecided.

    Attributes:
        channel: which channel holds it.
        half: on from here.
        band: undecided closer than this to `half`, 0 for labels.
        inverted: off is the object.
        orientation: how the mask is turned to lie on the upright image.
    """

    channel: Channel = "colour"
    half: float = 0.5
    band: float = 0.0
    inverted: bool = False
    orientation: Orientation = UPRIGHT

    @property
    def words(self) -> str:
        """What is not plain about it, "" if nothing."""
        alpha = "the alpha channel is the mask" if self.channel == "alpha" else ""
        soft = "masks have levels: above half is the object, within a twentieth of half undecided" if self.band else ""
        return "; ".join(w for w in (alpha, soft) if w)


ANY_LABEL = MaskReading(half=np.nextafter(np.float32(0), np.float32(1)))  # any number above 0 is on


def read_object_mask(path: Path, reading: MaskReading) -> NDArray[np.int8]:
    """(H, W) int8: +1 object, -1 background, 0 undecided."""
    values = mask_values(path)[0 if reading.channel == "colour" else 1]
    away = reading.orientation.apply(values) - reading.half
    on = np.where(away >= 0, 1, -1).astype(np.int8)
    on[np.abs(away) < reading.band] = 0
    return -on if reading.inverted else on


def read_valid_mask(path: Path, reading: MaskReading) -> NDArray[np.uint8]:
    """(H, W) uint8: 255 valid, 0 to be ignored; undecided pixels are ignored."""
    return np.where(read_object_mask(path, reading) > 0, 255, 0).astype(np.uint8)


def mask_values(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One number per pixel (H, W) of the colours, and of the opacity; NaN opacity where the file has none.

    The largest channel counts of colours; of palettes the index, and 0 for black wherever it stands. FourfoldError if the file cannot be read.
    """
    if path.suffix.lower() in ARRAY_SUFFIXES:
        return _array(path), np.full((1, 1), np.nan, np.float32)
    with opened_image(path, "a mask") as image:
        if image.mode == "P":
            values = np.asarray(image).astype(np.float32)
            black = _black_of(image.getpalette() or [], values)
            return np.where(values == black, 0.0, values + (values < black)).astype(np.float32), np.full((1, 1), np.nan, np.float32)
        values = np.asarray(image).astype(np.float32)
        if image.mode in ("RGBA", "LA"):
            return values[..., :-1].max(axis=2), values[..., -1]
    return values.reshape(*values.shape[:2], -1).max(axis=2), np.full((1, 1), np.nan, np.float32)


def decide(paths: Sequence[Path]) -> MaskReading:
    """How the files of one list are read, from a few of them."""
    pairs = [(mask_values(p), p) for p in sample(paths)]
    varies = [bool(np.ptp(alpha) > 0) for (_, alpha), _ in pairs]
    if any(varies) and not any(np.isnan(alpha).any() for (_, alpha), _ in pairs):
        levels = _levels([alpha for (_, alpha), _ in pairs], lossy=False)
        return MaskReading("alpha", *levels)
    lossy = any(p.suffix.lower() in LOSSY_SUFFIXES for _, p in pairs)
    return MaskReading("colour", *_levels([colour for (colour, _), _ in pairs], lossy))


def sample(paths: Sequence[Path], count: int = LOOKED_AT) -> list[Path]:
    """At most `count` files, evenly over the list."""
    return [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, count).round().astype(int))] if paths else []


def _levels(images: Sequence[NDArray[np.float32]], lossy: bool) -> tuple[float, float]:
    """The number from which a pixel is on, and the width of the undecided band."""
    numbers = np.unique(np.concatenate([np.unique(i) for i in images]))
    lowest, top = float(numbers[0]), float(numbers[-1])
    if lowest < 0:  # scores before their sigmoid
        return 0.0, 0.0
    whole = bool((numbers == np.round(numbers)).all())
    if lossy:
        top = 255.0
    elif len(numbers) <= 2 or (whole and 1 < top <= LARGEST_LABEL) or (len(numbers) <= FEW and whole and not _fringed(images, top)):
        return float(numbers[numbers > 0][0]) / 2 if top > 0 else 0.5, 0.0
    elif not whole and top <= 1.5:
        top = 1.0
    return top / 2, UNDECIDED * top


def _fringed(images: Sequence[NDArray[np.float32]], top: float) -> bool:
    """Whether numbers between 0 and `top` lie as levels at edges do, between lower and higher neighbours, and not in areas of their own."""
    between, at_edges = 0, 0
    for image in images:
        middle = (image > 0) & (image < top)
        kernel = np.ones((5, 5), np.uint8)
        spread = (cv2.dilate(image, kernel) > image) & (cv2.erode(image, kernel) < image)
        between, at_edges = between + int(middle.sum()), at_edges + int((middle & spread).sum())
    return between > 0 and at_edges > FRINGE * between


def _black_of(palette: Sequence[int], values: NDArray[np.float32]) -> int:
    """The index that is background: the only used one whose colour is black, else 0."""
    colours = np.array(palette[: len(palette) // 3 * 3]).reshape(-1, 3)
    used = [int(i) for i in np.unique(values) if i < len(colours)]
    black = [i for i in used if not colours[i].any()]
    return black[0] if len(black) == 1 else 0


def _array(path: Path) -> NDArray[np.float32]:
    if path.suffix.lower() == ".npz":
        names = archive_names(path)
        if not names:
            raise FourfoldError(f"{path} holds no array: replace or remove it")
        raw: NDArray[Any] = load_archive(path, {names[0]: None})[names[0]]
    else:
        raw = load_array(path)
    squeezed = raw[0] if raw.ndim == 3 and raw.shape[0] == 1 else raw
    values = squeezed.max(axis=2) if squeezed.ndim == 3 and squeezed.shape[2] <= 4 else squeezed
    if values.ndim != 2 or 0 in values.shape:
        raise FourfoldError(f"{path} has the shape {raw.shape}, expected one number per pixel: replace or remove it")
    return np.nan_to_num(values.astype(np.float32), nan=0.0)
