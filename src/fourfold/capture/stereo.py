"""Two views in one picture: side by side or one above the other, told by what the halves show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.frames import FrameList
from fourfold.capture.glimpses import Burst

Packing = Literal["side by side", "one above the other"]

SMALL = 160  # width of a half that is looked at
BLOCK = (24, 16)  # width and height of the patches compared
REACH = 16  # pixels by which they may lie apart, along the rows
SLANT = 2  # and across the rows
TEXTURE = 6.0  # standard deviation, levels, of a patch that can be compared
ALIKE = 0.85  # correlation of patches that show the same
MOST, CONTROL = 0.7, 0.5  # share of alike patches in stereo; and the largest share, of that, at rows where they should not be alike
SQUEEZED = 0.95, 2.7  # side ratios beyond which a half was squeezed to fit


@dataclass(frozen=True)
class Half:
    """One half of each frame of a list, stretched back where it was squeezed.

    Attributes:
        whole: the frames.
        box: left, top, width and height of the half, pixels of the frames.
        size: width and height of what is given.
    """

    whole: FrameList
    box: tuple[int, int, int, int]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.whole)

    def decode(self, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
        """The half of the frames `indices`, one after the other."""
        left, top, width, height = self.box
        for image in self.whole.decode(indices):
            part = np.ascontiguousarray(image[top : top + height, left : left + width])
            yield part if (width, height) == self.size else cv2.resize(part, self.size, interpolation=cv2.INTER_LINEAR)


def packing_of(seen: Sequence[Burst]) -> Packing | None:
    """How two views lie in each of some frames, None if they show one."""
    images = [first for first, _ in seen]
    if len(images) < 2:
        return None
    ways: tuple[Packing, ...] = ("side by side", "one above the other")
    for way in ways:
        if all(_alike(*_halves(image, way)) for image in images):
            return way
    return None


def halves(frames: FrameList, packing: Packing) -> tuple[Half, Half]:
    """The left and the right view of packed frames; of ones above each other the upper is the left, as players take it."""
    width, height = frames.size
    if packing == "side by side":
        wide, high, second = width // 2, height, (width - width // 2, 0)
    else:
        wide, high, second = width, height // 2, (0, height - height // 2)
    size = (wide, high)
    if wide / high < SQUEEZED[0]:
        size = (2 * wide, high)
    elif wide / high > SQUEEZED[1]:
        size = (wide, 2 * high)
    return Half(frames, (0, 0, wide, high), size), Half(frames, (*second, wide, high), size)


def _halves(image: NDArray[np.uint8], packing: Packing) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    grey = image.mean(axis=2).astype(np.float32)
    axis = 1 if packing == "side by side" else 0
    middle = grey.shape[axis] // 2
    parts = (grey[:, :middle], grey[:, -middle:]) if axis == 1 else (grey[:middle], grey[-middle:])
    high = max(BLOCK[1] * 3, round(SMALL * 9 / 16))
    first, second = (cv2.resize(np.ascontiguousarray(p), (SMALL, high), interpolation=cv2.INTER_AREA) for p in parts)
    return first, second


def _alike(first: NDArray[np.float32], second: NDArray[np.float32]) -> bool:
    """Whether most textured patches of the first half are in the second at the same rows, and not as well at others."""
    same, other = [], []
    height, width = first.shape
    for top in range(SLANT, height - BLOCK[1] - SLANT, BLOCK[1]):
        for left in range(REACH, width - BLOCK[0] - REACH, BLOCK[0]):
            patch = first[top : top + BLOCK[1], left : left + BLOCK[0]]
            if patch.std() < TEXTURE:
                continue
            away = (top + height // 3) % (height - BLOCK[1] - 2 * SLANT) + SLANT
            same.append(_best(patch, second, top, left))
            other.append(_best(patch, second, away, left))
    if len(same) < 6:
        return False
    share, control = np.mean(np.array(same) > ALIKE), np.mean(np.array(other) > ALIKE)
    return bool(share >= MOST and control <= CONTROL * share)


def _best(patch: NDArray[np.float32], image: NDArray[np.float32], top: int, left: int) -> float:
    area = image[top - SLANT : top + BLOCK[1] + SLANT, left - REACH : left + BLOCK[0] + REACH]
    return float(cv2.matchTemplate(area, patch, cv2.TM_CCOEFF_NORMED).max())
