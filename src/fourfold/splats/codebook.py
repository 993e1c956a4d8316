"""Few values that stand for many: books of 256 numbers, and palettes of rows, both by Lloyd's iterations from a fixed beginning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class PaletteConfig:
    """Numbers of a palette of rows.

    Attributes:
        share: Gaussians per entry; fewer make a better and larger palette.
        smallest: entries at least, where there are as many Gaussians.
        largest: entries at most; time grows with it.
        rounds: iterations.
    """

    share: int = 16
    smallest: int = 4096
    largest: int = 8192
    rounds: int = 5


def book(values: NDArray[np.float32], size: int = 256, rounds: int = 12) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """(size,) numbers in rising order, and for each of `values` (any shape) the index of the nearest."""
    flat = np.sort(values.reshape(-1).astype(np.float64))
    if len(flat) == 0:
        return np.zeros(size, np.float32), np.zeros(values.shape, np.uint8)
    distinct = np.unique(flat)
    if len(distinct) <= size:
        centers = np.pad(distinct, (0, size - len(distinct)), mode="edge")
    else:
        centers = _spread(flat, size)
        sums = np.concatenate([[0.0], np.cumsum(flat)])
        for _ in range(rounds):
            edges = np.searchsorted(flat, np.concatenate([[-np.inf], (centers[1:] + centers[:-1]) / 2, [np.inf]]))
            count = np.diff(edges)
            centers = np.where(count > 0, np.diff(sums[edges]) / np.maximum(count, 1), centers)
    centers = centers.astype(np.float32)
    nearest = np.searchsorted((centers[1:] + centers[:-1]) / 2, values)
    return centers, np.minimum(nearest, size - 1).astype(np.uint8)


def _spread(flat: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """(size,) numbers as dense as the cube root of the density of `flat`, which is best for squares of errors (Panter and Dite 1951)."""
    count, edges = np.histogram(flat, bins=4 * size)
    reached = np.concatenate([[0.0], np.cumsum(np.cbrt(count))])
    return np.interp((np.arange(size) + 0.5) / size * reached[-1], reached, edges)


def palette(rows: Tensor, config: PaletteConfig = PaletteConfig()) -> tuple[Tensor, Tensor]:
    """(P, D) rows that stand for `rows` (N, D), and (N,) int64 which one for each."""
    size = min(len(rows), max(config.smallest, len(rows) // config.share), config.largest)
    centers = rows[torch.linspace(0, len(rows) - 1, size).round().long()].clone()
    labels = torch.arange(len(rows))
    if size == len(rows):
        return centers, labels
    for _ in range(config.rounds):
        labels = torch.cat([torch.cdist(part, centers).argmin(1) for part in rows.split(4096)])
        count = torch.bincount(labels, minlength=size)
        sums = torch.zeros_like(centers).index_add_(0, labels, rows)
        centers = torch.where(count[:, None] > 0, sums / count.clamp_min(1)[:, None], centers)
    return centers, torch.cat([torch.cdist(part, centers).argmin(1) for part in rows.split(4096)])
