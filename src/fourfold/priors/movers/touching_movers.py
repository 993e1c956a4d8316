"""Movers whose masks touch: where one passes before another, tracks tell whose a pixel is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class TouchingNumbers:
    """Numbers of the splitting.

    Attributes:
        pure: share of a track's moments inside movers that must lie in one of them for the track to be that one's; moments count in which none is
            missed.
        fewest: tracks of a mover that an image must show for the mover to be looked for there.
        reach: pixels at a longer side of 160 within which a pixel listens to a track; nearest: how many it listens to.
    """

    pure: float = 0.8
    fewest: int = 5
    reach: float = 6.0
    nearest: int = 3


def split_touching(
    masks: Masks, movers: Sequence[Masks], xy: NDArray[np.float32], visible: Masks, numbers: TouchingNumbers = TouchingNumbers()
) -> list[Masks]:
    """The movers, with what they show in images in which one of them is missed, its mask being one with another's.

    Args:
        masks: (F, H, W) everything that moves; movers: each (F, H, W), empty where it was not found.
        xy: (P, F, 2) tracks, pixels, and where they are visible (P, F).
    """
    if len(movers) < 2 or not len(xy):
        return list(movers)
    frames, height, width = masks.shape
    column, row = np.clip(xy[..., 0].astype(int), 0, width - 1), np.clip(xy[..., 1].astype(int), 0, height - 1)
    at = np.arange(frames)[None], row, column
    missed = _missed(movers)
    told = visible & ~missed.any(axis=0)
    inside = np.stack([(mover[at] & told).sum(1) for mover in movers])
    owner = np.where(inside.max(0) >= np.maximum(numbers.pure * inside.sum(0), 1), inside.argmax(0), -1)
    shown, result = visible & masks[at], [mover.copy() for mover in movers]
    reach = numbers.reach * max(height, width) / 160
    for frame in range(frames):
        counts = [int((shown[:, frame] & (owner == number)).sum()) for number in range(len(movers))]
        if not any(count >= numbers.fewest for count, gone in zip(counts, missed[:, frame], strict=True) if gone):
            continue
        heard = np.flatnonzero(shown[:, frame] & (owner >= 0))
        rows, columns = np.nonzero(masks[frame])
        pixels = np.stack([columns, rows], axis=1) + 0.5
        nearest = min(numbers.nearest, len(heard))
        distance, index = cKDTree(xy[heard, frame]).query(pixels, k=nearest)
        votes = np.where(distance.reshape(-1, nearest) < reach, owner[heard][index.reshape(-1, nearest)], -1)
        share = np.stack([(votes == number).sum(1) for number in range(len(movers))])
        for number, mover in enumerate(result):
            mine = (share.argmax(0) == number) & (share.max(0) > 0)
            mover[frame] = False
            mover[frame, rows[mine], columns[mine]] = True
    return result


def _missed(movers: Sequence[Masks]) -> Masks:
    """(M, F) images in which a mover is missed that was seen before and is seen later: another's mask may hold it there."""
    found = np.stack([mover.any(axis=(1, 2)) for mover in movers])
    between = np.logical_or.accumulate(found, axis=1) & np.logical_or.accumulate(found[:, ::-1], axis=1)[:, ::-1]
    return between & ~found
