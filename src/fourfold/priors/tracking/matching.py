"""Image features at points, and pairs of features that agree: what every matcher, learned or not, hands over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PointFeatures:
    """N points of one image: xy (N, 2) float32 pixels with centres at +0.5, descriptors (N, D) float32, scores (N,) float32, larger is better."""

    xy: NDArray[np.float32]
    descriptors: NDArray[np.float32]
    scores: NDArray[np.float32]


DetectAndDescribe = Callable[[NDArray[np.uint8]], PointFeatures]
"""Finds and describes points of an image (H, W, 3) uint8 RGB."""


@dataclass(frozen=True)
class MatchConfig:
    """Numbers of the descriptor matching.

    Attributes:
        ratio: most distance to the nearest descriptor as a share of that to the second nearest (Lowe 2004); 1 switches the test off.
        rows: descriptors compared at a time; lower it to save memory.
    """

    ratio: float = 0.9
    rows: int = 2048


def match(features_a: PointFeatures, features_b: PointFeatures, config: MatchConfig = MatchConfig()) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Descriptors that are each other's nearest by Euclidean distance.

    Returns:
        pairs (M, 2) rows of `features_a` and `features_b`, and confidence (M,) in [0, 1]: 1 - distance / second distance.
    """
    a, b = features_a.descriptors.astype(np.float32), features_b.descriptors.astype(np.float32)
    if len(a) == 0 or len(b) == 0:
        return np.zeros((0, 2), np.int64), np.zeros(0, np.float32)
    nearest, first, second = _two_nearest(a, b, config.rows)
    back, _, _ = _two_nearest(b, a, config.rows)
    rows = np.flatnonzero((first <= config.ratio * second) & (back[nearest] == np.arange(len(a))))
    lead = 1.0 - first[rows] / np.maximum(second[rows], np.finfo(np.float32).tiny)
    return np.stack([rows, nearest[rows]], axis=1), np.clip(lead, 0.0, 1.0).astype(np.float32)


def _two_nearest(a: NDArray[np.float32], b: NDArray[np.float32], rows: int) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Row of the nearest of `b` for each of `a`, its distance, and the distance of the second nearest (infinite if `b` has one row)."""
    length = (b * b).sum(1)
    nearest, first, second = np.empty(len(a), np.int64), np.empty(len(a), np.float32), np.full(len(a), np.inf, np.float32)
    for start in range(0, len(a), rows):
        part = slice(start, start + rows)
        squared = np.maximum((a[part] ** 2).sum(1, keepdims=True) - 2.0 * (a[part] @ b.T) + length, 0.0)
        nearest[part] = squared.argmin(1)
        inside = np.arange(len(squared)), nearest[part]
        first[part] = np.sqrt(squared[inside])
        squared[inside] = np.inf
        second[part] = np.sqrt(squared.min(1))
    return nearest, first, second
