"""Seeds of moving bodies on a sheet: pixels of every training image's mask at one depth per body, brought to the canonical time.

A mover's depth noise is what tears it from the side, and less relief is better than wrong relief: the depth prior is believed only within a
few per cent of each body's own median.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.counting import counted
from fourfold.geometry.rows import Rows
from fourfold.initialize.body_motion import ALONE, BodyMotion
from fourfold.initialize.followed_bodies import BodyNumbers, bodies_of
from fourfold.initialize.frames import Frame, read_frame
from fourfold.initialize.object_layer import neighbour_logits
from fourfold.priors.contracts import Priors


@dataclass(frozen=True)
class SheetSeeds(Rows):
    """P seeds: canonical `means` (P, 3), `color` (P, 3), motion `logits` (P, B), `pixel` (P,) the size of a pixel there in scene units, `share`
    (P,) moving pixels of its image per seed, and the rows `frame` (P,) of the training images that showed them, at the pixels `xy` (P, 2)."""

    means: NDArray[np.float64]
    color: NDArray[np.float32]
    logits: NDArray[np.float32]
    pixel: NDArray[np.float64]
    share: NDArray[np.float64]
    frame: NDArray[np.int64]
    xy: NDArray[np.float64]


@dataclass(frozen=True)
class Density:
    """How many seeds an image gives: `per_pixel` of its moving pixels, but not more than `most`."""

    per_pixel: float
    most: int

    def count(self, pixels: int) -> int:
        """Seeds for an image with so many moving pixels."""
        return max(1, min(pixels, self.most, round(self.per_pixel * pixels)))


def sheet_seeds(
    capture: Capture, priors: Priors, motion: BodyMotion, density: Density, random: np.random.Generator, numbers: BodyNumbers = BodyNumbers()
) -> SheetSeeds | None:
    """Seeds from every training image that shows movers; None if none does."""
    frames = capture.train_frames()
    parts: list[SheetSeeds] = []
    for number, (view, index) in enumerate(counted(frames, "seeds of what moves")):
        part = _of_frame(read_frame(capture, priors, view, index), number, motion, density, random, numbers)
        parts += [] if part is None else [part]
    if not parts:
        return None
    return SheetSeeds.joined(parts)


def sheet_depth(frame: Frame, numbers: BodyNumbers = BodyNumbers()) -> NDArray[np.float64] | None:
    """(H, W) depth of each moving pixel on its body's sheet, 0 elsewhere; None where no moving pixel has a depth.

    Bodies (`followed_bodies.bodies_of`) whose medians are within `relief` of each other share the larger one's: an arm that is seen apart from its
    body keeps the body's depth.
    """
    known = frame.moving & (frame.depth > 0)
    if not known.any():
        return None
    bodies: list[float] = []
    result = np.zeros(frame.moving.shape)
    for mine in bodies_of(frame.moving, frame.depth, numbers):
        depths = frame.depth[mine & known]
        own = float(np.median(depths)) if len(depths) else float(np.median(frame.depth[known]))
        near = [body for body in bodies if abs(np.log(own / body)) <= numbers.relief]
        bodies += [] if near else [own]
        middle = near[0] if near else own
        relief = min(numbers.relief, numbers.thick * float(np.sqrt(mine.sum())) / frame.K[0, 0])
        low, high = (1 - relief) * middle, (1 + relief) * middle
        result[mine] = np.where(known[mine], np.clip(frame.depth[mine], low, high), middle)
    return result


def _of_frame(
    frame: Frame, number: int, motion: BodyMotion, density: Density, random: np.random.Generator, numbers: BodyNumbers
) -> SheetSeeds | None:
    row, column = np.nonzero(frame.moving)
    sheet = sheet_depth(frame, numbers) if len(row) >= numbers.fewest else None
    if sheet is None:
        return None
    count = density.count(len(row))
    share = len(row) / count
    pick = random.choice(len(row), count, replace=False)
    row, column = row[pick], column[pick]
    depth = sheet[row, column]
    points = frame.unproject(row, column, depth)
    knot = int(np.flatnonzero(motion.indices == frame.index)[0])
    logits = _logits(frame, motion, knot, row, column, motion.own[number][row, column])
    means = motion.fitted.canonical(torch.from_numpy(points).float(), torch.from_numpy(logits), knot).numpy().astype(np.float64)
    size = len(row)
    xy = np.stack([column + 0.5, row + 0.5], axis=1)
    return SheetSeeds(means, frame.color[row, column], logits, depth / frame.K[0, 0], np.full(size, share), np.full(size, number), xy)


def _logits(
    frame: Frame, motion: BodyMotion, knot: int, row: NDArray[np.int64], column: NDArray[np.int64], own: NDArray[np.int16]
) -> NDArray[np.float32]:
    """(P, B) motion logits of pixels: of the body's `own` (P,) basis, else of the nearest tracks in the image. Not in space: a seed's depth is less
    sure than its pixel."""
    fitted = motion.fitted
    result = np.full((len(row), len(fitted.rotation6d)), -ALONE, np.float32)
    followed = (own < 0) & (len(fitted.means) > 0)
    if followed.any():
        known = fitted.positions(fitted.means, fitted.logits)[knot].numpy().astype(np.float64)
        pixels = np.stack([column[followed], row[followed]], 1) + 0.5
        result[followed] = neighbour_logits(pixels, frame.project(known)[0], fitted.logits.numpy())[0]
    result[np.flatnonzero(own >= 0), own[own >= 0]] = ALONE
    return result
