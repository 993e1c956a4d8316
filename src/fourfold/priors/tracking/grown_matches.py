"""Matches grown from sure ones over a grid of moving pixels: smooth surfaces have few corners of their own."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fourfold.priors.tracking.track_step import Grey, MatchConfig, Points, correlation, match, patches

Found = tuple[Points, Points, NDArray[np.float32]]


@dataclass(frozen=True)
class GrowNumbers:
    """Numbers of the growing.

    Attributes:
        stride: of the grid, pixels; points within twice that of a sure match are left to it.
        neighbours: sure matches whose displacements say where a grid point is looked for; reach: how far away they may be, pixels.
        alike: least correlation of the patches of a grown match.
        moved: a grown match may be so many pixels away from where the neighbours said.
        match: of the Lucas-Kanade step that places it.
    """

    stride: int = 4
    neighbours: int = 6
    reach: float = 24.0
    alike: float = 0.8
    moved: float = 4.0
    match: MatchConfig = field(default_factory=lambda: MatchConfig(window=11, back_error=0.5, patch=9))


def grow(first: Grey, second: Grey, sure: Found, moving: NDArray[np.bool_], numbers: GrowNumbers = GrowNumbers()) -> Found:
    """Matches of grid points inside `moving` (H, W) of the first image, without the sure ones; none where there are too few of those.

    A grid point starts where the affine map of its nearest sure matches puts it, and is placed by Lucas-Kanade there and back.
    """
    xy_a, xy_b, confidence = sure
    none = np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32), np.zeros(0, np.float32)
    if len(xy_a) < numbers.neighbours:
        return none
    height, width = first.shape
    row, column = np.meshgrid(
        np.arange(numbers.stride // 2, height, numbers.stride), np.arange(numbers.stride // 2, width, numbers.stride), indexing="ij"
    )
    inside = moving[row, column]
    grid = np.stack([column[inside], row[inside]], axis=1).astype(np.float32) + np.float32(0.5)
    if len(grid) == 0:
        return none
    distance, index = cKDTree(xy_a).query(grid, k=numbers.neighbours)
    near = (distance[:, numbers.neighbours // 2] < numbers.reach) & (distance[:, 0] > 2 * numbers.stride)
    grid, index = grid[near], index[near]
    if len(grid) == 0:
        return none
    guess = _affine_guess(grid, xy_a[index], xy_b[index])
    placed, error = match(first, second, grid, guess, 0, numbers.match)
    alike = correlation(patches(first, grid, numbers.match.patch), patches(second, placed, numbers.match.patch))
    good = (error < numbers.match.back_error) & (alike > numbers.alike) & (np.linalg.norm(placed - guess, axis=1) < numbers.moved)
    return grid[good], placed[good], (0.5 * float(confidence.min(initial=1.0)) * alike[good]).astype(np.float32)


def _affine_guess(points: Points, source: NDArray[np.float32], target: NDArray[np.float32]) -> Points:
    """(N, 2) points under the affine maps (least squares, leaning towards pure shifts) of their own (N, K, 2) pairs; medians guard them."""
    shift = np.median(target - source, axis=1)
    centre = source.mean(axis=1, keepdims=True)
    local = (source - centre).astype(np.float64)
    residual = (target - source - shift[:, None]).astype(np.float64)
    weight = 1.0 / (1.0 + np.square(residual).sum(-1, keepdims=True))  # a wrong neighbour weighs little
    normal = np.einsum("nki,nkj->nij", weight * local, local) + 20.0 * np.eye(2)
    linear = np.linalg.solve(normal, np.einsum("nki,nkj->nij", weight * local, residual))
    return (points + shift + np.einsum("ni,nij->nj", (points - centre[:, 0]).astype(np.float64), linear)).astype(np.float32)
