"""Tracks of moving points become curves without gaps: shaking ones go, what was not observed moves with its neighbours.

Spec mosca.md section 5. MoSca joins observed moments by straight lines and holds the ends; here hidden moments are carried by the local
rigid motion of the curves around them that were observed, which is what the geometric stage would have to find.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fourfold.geometry.alignment import procrustes
from fourfold.initialize.track_cleaning import CleanTracks


@dataclass(frozen=True)
class CurveNumbers:
    """Numbers of the cleaning.

    Attributes:
        shaking: a curve goes if an observed position is farther than this from the middle of its neighbours in time, in depth units (the
            median distance of the tracks from the cameras; MoSca normalises depth to 1): 0.15, for the demo 0.075.
        neighbours: observed curves that carry a hidden one.
        outlier: a curve goes if it is farther from its neighbours than the mean plus so many standard deviations, in any observed moment.
        outlier_neighbours: of that test.
    """

    shaking: float = 0.15
    neighbours: int = 12
    outlier: float = 5.0
    outlier_neighbours: int = 16


@dataclass(frozen=True)
class Curves:
    """P curves at K knots: xyz (P, K, 3) scene units, certain (P, K) bool where observed, color (P, 3) RGB."""

    xyz: NDArray[np.float64]
    certain: NDArray[np.bool_]
    color: NDArray[np.float32]

    def of(self, rows: NDArray[np.intp]) -> Curves:
        """The curves at `rows`."""
        return Curves(self.xyz[rows], self.certain[rows], self.color[rows])


def curves_from_tracks(tracks: CleanTracks, depth_unit: float, numbers: CurveNumbers = CurveNumbers()) -> Curves:
    """Curves without gaps. `depth_unit`: scene units per depth unit of `numbers`."""
    certain = tracks.reliable > 0
    keep = steady(tracks.xyz, certain, numbers.shaking * depth_unit)
    keep &= ~outlying(tracks.xyz, certain, numbers.outlier, numbers.outlier_neighbours)
    if keep.sum() < 3:
        keep = np.ones_like(keep)
    xyz, certain = tracks.xyz[keep], certain[keep]
    return Curves(carried(xyz, certain, numbers.neighbours), certain, tracks.color[keep])


def steady(xyz: NDArray[np.float64], certain: NDArray[np.bool_], limit: float) -> NDArray[np.bool_]:
    """(P,) curves (P, K, 3) that never jump: three observed moments in a row lie within `limit` of a straight line at even speed."""
    if xyz.shape[1] < 3:
        return np.ones(len(xyz), bool)
    away = np.linalg.norm(xyz[:, 1:-1] - 0.5 * (xyz[:, :-2] + xyz[:, 2:]), axis=-1)
    return ~((away > limit) & certain[:, :-2] & certain[:, 1:-1] & certain[:, 2:]).any(axis=1)


def outlying(xyz: NDArray[np.float64], certain: NDArray[np.bool_], deviations: float, neighbours: int) -> NDArray[np.bool_]:
    """(P,) curves that are once a statistical outlier among the observed points of a moment."""
    bad = np.zeros(len(xyz), bool)
    for time in range(xyz.shape[1]):
        rows = np.flatnonzero(certain[:, time])
        if len(rows) <= neighbours:
            continue
        distance = cKDTree(xyz[rows, time]).query(xyz[rows, time], k=neighbours + 1)[0][:, 1:].mean(axis=1)
        bad[rows[distance > distance.mean() + deviations * distance.std()]] = True
    return bad


def carried(xyz: NDArray[np.float64], certain: NDArray[np.bool_], neighbours: int) -> NDArray[np.float64]:
    """(P, K, 3) with hidden moments filled in: carried forward from the last observed one and backward from the next, blended between.

    Where no curves were observed together at two moments, positions stay.
    """
    count = xyz.shape[1]
    first, last = certain.argmax(axis=1), count - 1 - certain[:, ::-1].argmax(axis=1)
    ahead, back = xyz.copy(), xyz.copy()
    for time in range(1, count):
        _carry(ahead, certain, time - 1, time, np.flatnonzero(~certain[:, time] & (first < time)), neighbours)
    for time in range(count - 2, -1, -1):
        _carry(back, certain, time + 1, time, np.flatnonzero(~certain[:, time] & (last > time)), neighbours)
    order = np.arange(count)
    before = np.maximum.accumulate(np.where(certain, order, -1), axis=1)
    after = np.minimum.accumulate(np.where(certain, order, count)[:, ::-1], axis=1)[:, ::-1]
    share = np.where(before < 0, 1.0, np.where(after >= count, 0.0, (order - before) / np.maximum(after - before, 1)))[..., None]
    return np.where(certain[..., None], xyz, (1 - share) * ahead + share * back)


def _carry(xyz: NDArray[np.float64], certain: NDArray[np.bool_], start: int, end: int, rows: NDArray[np.intp], neighbours: int) -> None:
    """Move `rows` from their place at `start` to `end` with the rigid motion of the nearest curves observed at both; in place."""
    seen = np.flatnonzero(certain[:, start] & certain[:, end])
    if len(rows) == 0:
        return
    xyz[rows, end] = xyz[rows, start]
    near = min(neighbours, len(seen))
    if near < 4:
        return
    distance, index = cKDTree(xyz[seen, start]).query(xyz[rows, start], k=near)
    others = seen[index]
    xyz[rows, end] = _moved(xyz[rows, start], xyz[others, start], xyz[others, end], distance)


def _moved(
    points: NDArray[np.float64], source: NDArray[np.float64], target: NDArray[np.float64], distance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(P, 3) points under the rigid motions of their (P, N, 3) neighbours; neighbours that move otherwise count less and less."""
    reach = np.maximum(distance[:, distance.shape[1] // 2], 1e-12)[:, None]
    nearness = np.exp(-0.5 * (distance / reach) ** 2)
    motion = procrustes(torch.from_numpy(source), torch.from_numpy(target), torch.from_numpy(nearness)).numpy()
    for _ in range(2):
        residual = np.linalg.norm(np.einsum("pij,pnj->pni", motion[:, :3, :3], source) + motion[:, None, :3, 3] - target, axis=-1)
        typical = np.maximum(np.median(residual, axis=1, keepdims=True), 1e-9)
        weight = nearness / (1 + (residual / (2 * typical)) ** 2)
        motion = procrustes(torch.from_numpy(source), torch.from_numpy(target), torch.from_numpy(weight)).numpy()
    return np.einsum("pij,pj->pi", motion[:, :3, :3], points) + motion[:, :3, 3]
