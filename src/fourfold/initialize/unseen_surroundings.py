"""What no camera of a rig shows, continued from around it: a view between the cameras looks there all the same.

Seen from the middle of the stage, colour and inverse distance of the static points are smooth functions of direction; where no point lies
they are filled in (spec calibration.md A: unseen regions, harmonic fill, frozen). Colours are blurred first: a dark spot at the edge of
what was seen says nothing about what lies beyond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.initialize.splats import make_splats
from fourfold.priors.depth.fill import pull_push
from fourfold.priors.depth.rig import stage_of
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import STATIC, Layer


@dataclass(frozen=True)
class UnseenNumbers:
    """How directions are filled.

    Attributes:
        rows: of the table of directions over 180 degrees; it has twice as many columns.
        blur: standard deviation of the blur of colours, in cells.
        size: standard deviation of a filled-in Gaussian, in cells.
        opacity: of it.
    """

    rows: int = 64
    blur: float = 5.0
    size: float = 0.7
    opacity: float = 0.95


def unseen_surroundings(layer: Layer, capture: Capture, numbers: UnseenNumbers = UnseenNumbers()) -> Layer | None:
    """A static layer "unseen" in the directions in which `layer` has nothing; None where there are none, or no stage to look from."""
    stage = stage_of(capture)
    if stage is None or len(layer) == 0:
        return None
    points = layer.splats["means"].numpy().astype(np.float64) - stage.center
    distance = np.linalg.norm(points, axis=1)
    color = torch.sigmoid(layer.splats["color_logit"]).numpy()
    cells = _cells(points / np.maximum(distance, 1e-9)[:, None], numbers.rows)
    table, known = _table(np.concatenate([1 / np.maximum(distance, 1e-9)[:, None], color], axis=1), cells, numbers.rows)
    around = np.concatenate([table] * 3, axis=1).astype(np.float32)  # the left and the right edge are the same direction
    seen = np.concatenate([known] * 3, axis=1)
    around[..., 1:] = _blurred(around[..., 1:], seen, numbers.blur)
    filled = np.stack([pull_push(around[..., k], seen) for k in range(4)], axis=-1)[:, 2 * numbers.rows : 4 * numbers.rows]
    row, column = _even(~known, numbers.rows)
    if len(row) == 0:
        return None
    value, reach = filled[row, column], 1 / np.maximum(filled[row, column, 0], 1e-9)
    means = stage.center + _directions(row, column, numbers.rows) * reach[:, None]
    splats = make_splats(means, np.clip(value[:, 1:], 0, 1), numbers.size * reach * np.pi / numbers.rows, numbers.opacity)
    return Layer("unseen", STATIC, Static(), splats)


def _blurred(values: NDArray[np.float32], known: NDArray[np.bool_], sigma: float) -> NDArray[np.float32]:
    """(H, W, C) weighted mean of the known values around."""
    import cv2

    share = cv2.GaussianBlur(known.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    total = cv2.GaussianBlur(np.where(known[..., None], values, 0), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return total / np.maximum(share, 1e-6)[..., None]


def _cells(directions: NDArray[np.float64], rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row (colatitude from +z) and column (longitude) of unit `directions` (N, 3)."""
    row = np.arccos(np.clip(directions[:, 2], -1, 1)) / np.pi * rows
    column = (np.arctan2(directions[:, 1], directions[:, 0]) / (2 * np.pi) + 0.5) * 2 * rows
    return np.clip(row.astype(np.int64), 0, rows - 1), np.clip(column.astype(np.int64), 0, 2 * rows - 1)


def _directions(row: NDArray[np.int64], column: NDArray[np.int64], rows: int) -> NDArray[np.float64]:
    """(N, 3) unit directions of the middles of cells."""
    polar, around = (row + 0.5) * np.pi / rows, ((column + 0.5) / (2 * rows) - 0.5) * 2 * np.pi
    return np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=1)


def _table(
    values: NDArray[np.float64], cells: tuple[NDArray[np.int64], NDArray[np.int64]], rows: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(rows, 2 rows, C) mean of the values (N, C) in each cell, and where there are some; holes of one cell count as seen."""
    import cv2

    flat = cells[0] * 2 * rows + cells[1]
    count = np.bincount(flat, minlength=2 * rows * rows)
    total = np.stack([np.bincount(flat, values[:, k], 2 * rows * rows) for k in range(values.shape[1])], axis=-1)
    known = (count > 0).reshape(rows, 2 * rows)
    mean = (total / np.maximum(count, 1)[:, None]).reshape(rows, 2 * rows, -1)
    closed = cv2.morphologyEx(known.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE) > 0
    for k in range(values.shape[1]):
        mean[..., k] = np.where(known, mean[..., k], pull_push(mean[..., k].astype(np.float32), known))
    return mean, closed


def _even(empty: NDArray[np.bool_], rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of empty cells, every n-th near the poles, where cells are narrow."""
    row, column = np.nonzero(empty)
    every = np.maximum(1, np.floor(1 / np.maximum(np.sin((row + 0.5) * np.pi / rows), 1e-3))).astype(np.int64)
    kept = column % every == 0
    return row[kept], column[kept]
