"""Groups of points that look alike, for one motion each: spec monofusion.md section 5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from fourfold.errors import FourfoldError

Points = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class GroupNumbers:
    """How points are grouped.

    Attributes:
        groups: B, as many as wished (the paper: fewer than 20 lose limbs, more than 40 do no harm).
        smallest: a group with no more points is dropped (50 of 18 000 in the released code); smallest_share: or, for fewer points, this share.
        position: weight of the 3D position, in units of the points' extent, beside the features, whose standardised channels together count
            1. 0 is the paper: alike parts of two people then share a group whose centre lies between them.
        features: weight of the features; 0 groups by position alone.
        sample: points that the centres are fitted to.
        seed: of the clustering.
    """

    groups: int = 40
    smallest: int = 50
    smallest_share: float = 0.003
    position: float = 2.0
    features: float = 1.0
    sample: int = 6000
    seed: int = 42


@dataclass(frozen=True)
class Groups:
    """label (P,) int64 group of each point, 0 .. B - 1; centers (B, 3) per-axis median position of each group's points."""

    label: NDArray[np.int64]
    centers: NDArray[np.float64]


def group_points(points: Points, features: Points | None, numbers: GroupNumbers = GroupNumbers()) -> Groups:
    """k-means of P points (P, 3) by their features (P, C), or by position alone where there are none; small groups join the nearest other.

    Raises:
        FourfoldError: there is no point, or the numbers of points and features differ.
    """
    if len(points) == 0 or (features is not None and len(features) != len(points)):
        raise FourfoldError(
            f"group_points got {len(points)} points and {'no' if features is None else len(features)} features: expected as many, at least one"
        )
    words = _words(np.asarray(points, np.float64), features, numbers)
    random = np.random.default_rng(numbers.seed)
    sample = words if len(words) <= numbers.sample else words[random.choice(len(words), numbers.sample, replace=False)]
    wanted = max(1, min(numbers.groups, len(sample) // 3))
    centers, _ = kmeans2(sample, wanted, iter=25, minit="++", seed=random, missing="warn")  # pyright: ignore[reportCallIssue]
    label = _nearest(words, centers)
    least = min(numbers.smallest, max(1, round(numbers.smallest_share * len(points))))
    stay = np.flatnonzero(np.bincount(label, minlength=wanted) > least)
    if len(stay) == 0:
        stay = np.array([np.bincount(label, minlength=wanted).argmax()])
    label = _nearest(words, centers[stay])
    label = np.unique(label, return_inverse=True)[1].astype(np.int64)
    return Groups(label, np.stack([np.median(points[label == b], axis=0) for b in range(int(label.max()) + 1)]).astype(np.float64))


def _words(points: Points, features: Points | None, numbers: GroupNumbers) -> NDArray[np.float64]:
    low, high = np.quantile(points, (0.05, 0.95), axis=0)
    where = (points - np.median(points, axis=0)) / max(float((high - low).max()) / 2, 1e-9)
    if features is None or numbers.features == 0:
        return where
    look = np.asarray(features, np.float64)
    look = (look - look.mean(0)) / np.maximum(look.std(0), 1e-6) / np.sqrt(look.shape[1])
    return np.concatenate([numbers.features * look, numbers.position * where], axis=1)


def _nearest(words: NDArray[np.float64], centers: NDArray[np.float64]) -> NDArray[np.int64]:
    distance = np.stack([((words - center) ** 2).sum(1) for center in centers], axis=1)
    return distance.argmin(1).astype(np.int64)


def sampled_features(feature: NDArray[np.floating[Any]], xy: Points, size: tuple[int, int]) -> NDArray[np.float32]:
    """(P, C) features of one image, bilinear on the grid `feature` (h, w, C), at pixels `xy` (P, 2) of an image of `size` width and height."""
    height, width = feature.shape[:2]
    column = np.clip(xy[:, 0] * width / size[0] - 0.5, 0, width - 1)
    row = np.clip(xy[:, 1] * height / size[1] - 0.5, 0, height - 1)
    x, y = np.minimum(column.astype(int), max(width - 2, 0)), np.minimum(row.astype(int), max(height - 2, 0))
    right, below = np.minimum(x + 1, width - 1), np.minimum(y + 1, height - 1)
    u, v = (column - x)[:, None], (row - y)[:, None]
    grid = np.asarray(feature, np.float32)
    upper, lower = grid[y, x] * (1 - u) + grid[y, right] * u, grid[below, x] * (1 - u) + grid[below, right] * u
    return (upper * (1 - v) + lower * v).astype(np.float32)
