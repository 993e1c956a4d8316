"""The moving masks of a view as separate movers, each followed through time."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment


@dataclass(frozen=True)
class RegionConfig:
    """Numbers of the splitting into movers.

    Attributes:
        least_area: a component smaller than this share of the image is no mover of its own.
        least_presence: a mover must be there in at least this share of the frames.
        most_movers: only the largest ones are treated as objects.
        closing: gaps in the mask up to this many pixels do not separate.
        least_link: overlap (intersection over union after moving to the same centre, less the distance in sizes) below which nothing is linked.
    """

    least_area: float = 0.004
    least_presence: float = 0.3
    most_movers: int = 4
    closing: int = 5
    least_link: float = 0.15


def movers_of(masks: NDArray[np.bool_], config: RegionConfig = RegionConfig()) -> list[NDArray[np.bool_]]:
    """Follow the large components of (F, H, W) masks; each mover is an (F, H, W) mask, the largest first."""
    frames, height, width = masks.shape
    movers: list[dict[int, NDArray[np.bool_]]] = []
    for frame in range(frames):
        parts = _components(masks[frame], config)
        if not parts:
            continue
        score = np.array([[_link(m, frame, p) for p in parts] for m in movers]).reshape(len(movers), len(parts))
        rows, columns = linear_sum_assignment(-score) if len(movers) else (np.zeros(0, int), np.zeros(0, int))
        linked = {int(c): int(r) for r, c in zip(rows, columns, strict=True) if score[r, c] > config.least_link}
        for index, part in enumerate(parts):
            if index in linked:
                movers[linked[index]][frame] = part
            else:
                movers.append({frame: part})
    result = []
    for mover in movers:
        if len(mover) >= max(2, config.least_presence * frames):
            volume = np.zeros((frames, height, width), bool)
            for frame, part in mover.items():
                volume[frame] = part
            result.append(volume)
    return sorted(result, key=lambda v: -int(v.sum()))[: config.most_movers]


def _components(mask: NDArray[np.bool_], config: RegionConfig) -> list[NDArray[np.bool_]]:
    kernel = np.ones((config.closing, config.closing), np.uint8)
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(closed)
    least = config.least_area * mask.size
    return [(labels == k) & mask for k in range(1, count) if stats[k, cv2.CC_STAT_AREA] >= least]


def _link(mover: dict[int, NDArray[np.bool_]], frame: int, part: NDArray[np.bool_]) -> float:
    """How well `part` continues a mover: overlap at a common centre, less the distance of its centre from the predicted one in sizes."""
    known = sorted(mover)
    last = mover[known[-1]]
    centre = _centre(last)
    if len(known) > 1 and known[-1] > known[-2]:
        speed = (centre - _centre(mover[known[-2]])) / (known[-1] - known[-2])
        predicted = centre + speed * min(frame - known[-1], 3)
    else:
        predicted = centre
    here = _centre(part)
    shift = np.round(here - centre).astype(int)
    moved = cv2.warpAffine(last.astype(np.uint8), np.float64([[1, 0, shift[0]], [0, 1, shift[1]]]), (part.shape[1], part.shape[0])) > 0
    union = int((moved | part).sum())
    overlap = int((moved & part).sum()) / max(union, 1)
    away = min(np.linalg.norm(here - predicted), np.linalg.norm(here - centre)) / np.sqrt(max(int(part.sum()), 1))
    return float(overlap - 0.3 * away)


def _centre(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()])
