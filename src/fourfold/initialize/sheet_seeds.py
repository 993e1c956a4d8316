"""Seeds of moving bodies on a sheet: pixels of every training image's mask at one depth per body, brought to the canonical time.

A mover's depth noise is what tears it from the side, and less relief is better than wrong relief: the depth prior is believed only within a
few per cent of each body's own median.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.initialize.frames import Frame, read_frame
from fourfold.initialize.object_layer import ObjectMotion, neighbour_logits
from fourfold.priors.contracts import Priors


@dataclass(frozen=True)
class SheetNumbers:
    """How pixels become seeds.

    Attributes:
        relief: a pixel's depth may differ from its body's median by this share at most.
        fewest: an image with fewer moving pixels gives no seeds.
    """

    relief: float = 0.15
    fewest: int = 30


@dataclass(frozen=True)
class SheetSeeds:
    """P seeds: canonical `means` (P, 3), `color` (P, 3), motion `logits` (P, B), `pixel` (P,) the size of a pixel there in scene units, `share`
    (P,) moving pixels of its image per seed, and the rows `frame` (P,) of the training images that showed them."""

    means: NDArray[np.float64]
    color: NDArray[np.float32]
    logits: NDArray[np.float32]
    pixel: NDArray[np.float64]
    share: NDArray[np.float64]
    frame: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.means)

    def rows(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> SheetSeeds:
        """The seeds `which`."""
        return SheetSeeds(*(getattr(self, f.name)[which] for f in fields(self)))


def sheet_seeds(
    capture: Capture, priors: Priors, motion: ObjectMotion, count: int, random: np.random.Generator, numbers: SheetNumbers = SheetNumbers()
) -> SheetSeeds | None:
    """Some `count` seeds, equally many from every training image that shows movers; None if none does."""
    frames = capture.train_frames()
    parts: list[SheetSeeds] = []
    for number, (view, index) in enumerate(frames):
        part = _of_frame(read_frame(capture, priors, view, index), number, motion, max(1, round(count / len(frames))), random, numbers)
        parts += [] if part is None else [part]
    if not parts:
        return None
    return SheetSeeds(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(SheetSeeds)))


def sheet_depth(frame: Frame, relief: float) -> NDArray[np.float64] | None:
    """(H, W) depth of each moving pixel on its body's sheet, 0 elsewhere; None where no moving pixel has a depth.

    A body is a connected part of the mask, together with the parts whose median depth is within `relief` of its own: an arm that is seen apart
    from its body keeps the body's depth.
    """
    count, label = cv2.connectedComponents(frame.moving.astype(np.uint8), connectivity=8)
    known = frame.moving & (frame.depth > 0)
    if not known.any():
        return None
    sizes = np.bincount(label.ravel(), minlength=count)
    whole = float(np.median(frame.depth[known]))
    bodies: list[float] = []
    result = np.zeros(frame.moving.shape)
    for part in sorted(range(1, count), key=lambda n: -sizes[n]):
        mine = label == part
        depths = frame.depth[mine & known]
        own = float(np.median(depths)) if len(depths) else whole
        near = [body for body in bodies if abs(np.log(own / body)) <= relief]
        if not near:
            bodies.append(own)
        middle = near[0] if near else own
        result[mine] = np.where(known[mine], np.clip(frame.depth[mine], (1 - relief) * middle, (1 + relief) * middle), middle)
    return result


def _of_frame(frame: Frame, number: int, motion: ObjectMotion, count: int, random: np.random.Generator, numbers: SheetNumbers) -> SheetSeeds | None:
    row, column = np.nonzero(frame.moving)
    sheet = sheet_depth(frame, numbers.relief) if len(row) >= numbers.fewest else None
    if sheet is None:
        return None
    share = max(1.0, len(row) / count)
    pick = random.choice(len(row), min(count, len(row)), replace=False)
    row, column = row[pick], column[pick]
    depth = sheet[row, column]
    points = frame.unproject(row, column, depth)
    knot = int(np.flatnonzero(motion.tracks.indices == frame.index)[0])
    known = motion.fitted.positions(motion.fitted.means, motion.fitted.logits)[knot].numpy().astype(np.float64)
    # the nearest tracks in the image, not in space: a seed's depth is less sure than its pixel
    logits, _ = neighbour_logits(np.stack([column, row], 1) + 0.5, _projected(frame, known), motion.fitted.logits.numpy())
    means = motion.fitted.canonical(torch.from_numpy(points).float(), torch.from_numpy(logits), knot).numpy().astype(np.float64)
    size = len(row)
    return SheetSeeds(means, frame.color[row, column], logits, depth / frame.K[0, 0], np.full(size, share), np.full(size, number))


def _projected(frame: Frame, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, 2) pixels of world `points` (P, 3) in the image."""
    local = points @ frame.world_to_camera[:3, :3].T + frame.world_to_camera[:3, 3]
    image = local @ frame.K.T
    result: NDArray[np.float64] = image[:, :2] / np.maximum(image[:, 2:], 1e-6)
    return result
