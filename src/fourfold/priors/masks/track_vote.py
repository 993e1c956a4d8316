"""Tracks vote for pixels: near ones of a like colour count, as Gaussian weights of place and colour."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class VoteNumbers:
    """Numbers of the vote.

    Attributes:
        side: longer side of the grid of pixels that are voted for.
        reach: standard deviation of a vote in space, grid pixels at a longer side of 320.
        colour: standard deviation of a vote in colour, units of OpenCV's 8-bit Lab.
        doubt: weight of what is assumed of a pixel before any track is heard.
        unheard: the suspicion that is assumed.
    """

    side: int = 320
    reach: float = 8.0
    colour: float = 12.0
    doubt: float = 0.02
    unheard: float = 0.0


def vote(
    image: NDArray[np.uint8], xy: NDArray[np.float64], suspicion: NDArray[np.float64], say: NDArray[np.float64], numbers: VoteNumbers = VoteNumbers()
) -> NDArray[np.float32]:
    """(h, w) weighted mean of `suspicion` (N,) of the tracks at `xy` (N, 2) pixels of `image` (h, w, 3) RGB, with weights `say` (N,).

    A track is heard up to two deviations away, in its own cell and those around it.
    """
    moving, all_of = gathered(image, xy, np.stack([say * suspicion, say]), numbers)
    return (moving + np.float32(numbers.doubt * numbers.unheard)) / (all_of + np.float32(numbers.doubt))


def gathered(
    image: NDArray[np.uint8], xy: NDArray[np.float64], amounts: NDArray[np.float64], numbers: VoteNumbers = VoteNumbers()
) -> NDArray[np.float32]:
    """(C, h, w) what reaches each pixel of `image` (h, w, 3) RGB of the `amounts` (C, N) at `xy` (N, 2), by likeness of place and colour.

    The sums run in one order: no thread changes them.
    """
    height, width = image.shape[:2]
    reach = numbers.reach * max(height, width) / 320
    cell = max(2, round(2 * reach))
    rows, columns = -(-height // cell), -(-width // cell)
    lab = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2LAB).astype(np.float32)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32) + 0.5, np.arange(height, dtype=np.float32) + 0.5)
    pixels = np.concatenate([np.stack([x, y], -1) / reach, lab / numbers.colour], -1).astype(np.float32)
    column, row = np.clip(xy.astype(np.int64), 0, [width - 1, height - 1]).T
    voters = np.concatenate([xy / reach, lab[row, column] / numbers.colour], 1).astype(np.float32)
    strength = amounts.astype(np.float32)
    result = np.zeros((len(strength), height, width), np.float32)
    home_row, home_column = row // cell, column // cell
    for i in range(rows):
        in_row = np.flatnonzero(np.abs(home_row - i) <= 1)
        for j in range(columns):
            heard = in_row[np.abs(home_column[in_row] - j) <= 1]
            if len(heard):
                block = (slice(i * cell, (i + 1) * cell), slice(j * cell, (j + 1) * cell))
                result[:, block[0], block[1]] = _block(pixels[block], voters[heard], strength[:, heard])
    return result


def _block(pixels: NDArray[np.float32], voters: NDArray[np.float32], strength: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, a, b) what `voters` (N, 5) with `strength` (C, N) give to `pixels` (a, b, 5)."""
    flat = pixels.reshape(-1, 5)
    distance = np.zeros((len(voters), len(flat)), np.float32)
    for axis in range(5):
        step = voters[:, axis, None] - flat[None, :, axis]
        distance += step * step
    weight = np.exp(-0.5 * distance)
    return np.stack([(s[:, None] * weight).sum(0) for s in strength]).reshape(-1, *pixels.shape[:2])
