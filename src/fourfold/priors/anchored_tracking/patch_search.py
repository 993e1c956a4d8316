"""Finding image patches again: normalised correlation over a pyramid of Lab images."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 7
"""Side of a patch, pixels of its level (spec himor_4dgs360.md section 5.1)."""
CHUNK = 4000


@dataclass(frozen=True)
class LabPyramid:
    """Images as Lab: levels[l] is (T, h, w, 3) uint8, reduced 2^l times."""

    levels: tuple[NDArray[np.uint8], ...]


def lab_pyramid(rgb: NDArray[np.uint8], levels: int = 3) -> LabPyramid:
    """Of (T, H, W, 3) images."""
    stack = [np.stack([cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2LAB) for image in rgb])]
    for _ in range(levels - 1):
        height, width = stack[-1].shape[1:3]
        size = (max(width // 2, 1), max(height // 2, 1))
        stack.append(np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in stack[-1]]))
    return LabPyramid(tuple(stack))


def cut(images: NDArray[np.uint8], frame: NDArray[np.intp], xy: NDArray[np.float64], side: int) -> NDArray[np.float32]:
    """(M, side, side, 3) bilinear patches around `xy` (M, 2), pixels of `images`, centres at +0.5; the border repeats."""
    height, width = images.shape[1:3]
    corner = xy - 0.5 - (side - 1) / 2
    base = np.floor(corner).astype(np.intp)
    share = (corner - base).astype(np.float32)
    rows = np.clip(base[:, 1, None] + np.arange(side + 1), 0, height - 1)
    columns = np.clip(base[:, 0, None] + np.arange(side + 1), 0, width - 1)
    block = images[frame[:, None, None], rows[:, :, None], columns[:, None, :]].astype(np.float32)
    u, v = share[:, 0, None, None, None], share[:, 1, None, None, None]
    across = block[:, :, :-1] * (1 - u) + block[:, :, 1:] * u
    return across[:, :-1] * (1 - v) + across[:, 1:] * v


@dataclass(frozen=True)
class Sought:
    """M patches to find: seen around `from_xy` (M, 2) in frame `from_frame` (M,), looked for around `guess` (M, 2) in frame `frame` (M,)."""

    from_frame: NDArray[np.intp]
    from_xy: NDArray[np.float64]
    frame: NDArray[np.intp]
    guess: NDArray[np.float64]

    def part(self, rows: slice) -> Sought:
        """Some of them."""
        return Sought(self.from_frame[rows], self.from_xy[rows], self.frame[rows], self.guess[rows])


def search(pyramid: LabPyramid, sought: Sought, radius: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Best places (M, 2) within about `radius` pixels of the guesses, and their correlations (M,) in [-1, 1].

    The level is the finest on which at most four steps reach the radius; the optimum is refined by parabolas.
    """
    level = int(np.clip(np.ceil(np.log2(max(radius, 1e-9) / 4)), 0, len(pyramid.levels) - 1))
    reach = max(1, round(radius / 2**level))
    found = [_search_level(pyramid.levels[level], sought.part(slice(i, i + CHUNK)), level, reach) for i in range(0, len(sought.frame), CHUNK)]
    if not found:
        return np.zeros((0, 2)), np.zeros(0)
    return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])


def _search_level(images: NDArray[np.uint8], sought: Sought, level: int, reach: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    factor = 0.5**level
    template = cut(images, sought.from_frame, sought.from_xy * factor, SIDE)
    template -= template.mean((1, 2), keepdims=True)
    length = np.sqrt((template**2).sum((1, 2, 3)))
    block = cut(images, sought.frame, sought.guess * factor, SIDE + 2 * reach)
    steps = 2 * reach + 1
    score = np.zeros((len(template), steps, steps), np.float32)
    for row in range(steps):
        for column in range(steps):
            seen = block[:, row : row + SIDE, column : column + SIDE]
            mean = seen.mean((1, 2), keepdims=True)
            spread = np.sqrt(np.maximum(((seen - mean) ** 2).sum((1, 2, 3)), 0))
            product = (seen * template).sum((1, 2, 3))
            score[:, row, column] = product / np.maximum(spread * length, SIDE * SIDE)  # a flat patch resembles nothing
    best = score.reshape(len(score), -1).argmax(1)
    row, column = best // steps, best % steps
    each = np.arange(len(score))
    offset = np.stack([column + _peak(score[each, row], column), row + _peak(score[each, :, column], row)], 1) - reach
    return sought.guess + offset / factor, score[each, row, column].astype(np.float64)


def _peak(line: NDArray[np.float32], at: NDArray[np.intp]) -> NDArray[np.float64]:
    """(M,) where the parabola through the neighbours of entry `at` (M,) of `line` (M, S) has its top, relative to it; 0 at the ends."""
    each, last = np.arange(len(line)), line.shape[1] - 1
    before, here, after = line[each, np.maximum(at - 1, 0)], line[each, at], line[each, np.minimum(at + 1, last)]
    bend = 2 * here - before - after
    inner = (at > 0) & (at < last) & (bend > 1e-6)
    return np.where(inner, np.clip(0.5 * (after - before) / np.where(inner, bend, 1), -0.5, 0.5), 0).astype(np.float64)
