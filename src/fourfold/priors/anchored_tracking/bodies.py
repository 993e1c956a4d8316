"""Where hidden points go: rigid motions of the whole, of parts, and of neighbourhoods, fitted to what is seen of them.

Without this prediction a few iterations of a local solver cannot carry a rotation across an object (spec himor_4dgs360.md section 5.1).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree

from fourfold.geometry.alignment import procrustes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BodyNumbers:
    """How rigid motions are fitted.

    Attributes:
        parts: number of parts on each level, coarse to fine; never more than points / `fewest`.
        fewest: usable points that a part needs for a motion of its own; flat: second over first singular value below which they are a line.
        rounds: robust re-weightings. neighbours: known points around a new one that tell where it belongs on the canonical shape.
        around: known points whose turn tells where a point faces.
    """

    parts: tuple[int, ...] = (1, 6, 20)
    fewest: int = 8
    flat: float = 0.2
    rounds: int = 6
    neighbours: int = 24
    around: int = 12


@dataclass
class Shape:
    """The canonical shape, known point by point: position (R, 3), NaN unknown, and outward unit normal (R, 3) of every row of the job."""

    position: Array = field(default_factory=lambda: np.zeros((0, 3)))
    normal: Array = field(default_factory=lambda: np.zeros((0, 3)))

    def of(self, rows: NDArray[np.intp]) -> Array:
        """(N, 3) canonical positions of `rows`."""
        missing = int(rows.max(initial=-1)) + 1 - len(self.position)
        if missing > 0:
            self.position, self.normal = (np.concatenate([a, np.full((missing, 3), np.nan)]) for a in (self.position, self.normal))
        return self.position[rows]

    def learn(self, rows: NDArray[np.intp], position: Array, normal: Array) -> None:
        """Remember where `rows` are and where they face."""
        self.of(rows)
        self.position[rows], self.normal[rows] = position, normal


def fit(source: Array, target: Array, weight: Array, rounds: int) -> Array:
    """(B, 4, 4) robust rigid motions of B sets: source and target (P, 3), weight (B, P)."""
    moved_from, moved_to = (torch.from_numpy(np.broadcast_to(a, (len(weight), *a.shape)).copy()) for a in (source, target))
    now, result = weight, np.zeros((len(weight), 4, 4))
    for _ in range(rounds):
        result = procrustes(moved_from, moved_to, torch.from_numpy(now)).numpy()
        error = np.linalg.norm(move(result[:, None], source[None]) - target, axis=-1)
        typical = np.array([np.median(e[w > 0]) if (w > 0).any() else 1.0 for e, w in zip(error, weight, strict=True)])
        now = weight / (1 + (error / np.maximum(3 * typical, 1e-9)[:, None]) ** 2) ** 2
    return result


def move(transform: Array, points: Array) -> Array:
    """(..., 3) `points` moved by rigid `transform` (..., 4, 4), broadcast."""
    return np.einsum("...ij,...j->...i", transform[..., :3, :3], points) + transform[..., :3, 3]


def part_labels(canonical: Array, numbers: BodyNumbers) -> list[NDArray[np.intp]]:
    """Per level the part (N,) of each canonical point."""
    labels = []
    for wanted in numbers.parts:
        count = max(1, min(wanted, len(canonical) // numbers.fewest))
        random = np.random.default_rng(count)
        label = kmeans2(canonical, count, minit="++", seed=random, missing="warn")[1] if count > 1 else np.zeros(len(canonical), np.intp)  # pyright: ignore[reportCallIssue]
        labels.append(label.astype(np.intp))
    return labels


@dataclass(frozen=True)
class Evidence:
    """What is seen at one moment of N points: target (N, 3) and weight (N,), 0 where nothing is known."""

    target: Array
    weight: Array


def predict(canonical: Array, before: Array, seen: Evidence, labels: list[NDArray[np.intp]], numbers: BodyNumbers) -> Array:
    """(N, 3) where the points are, given where they were (`before`) and what is seen.

    Parts with enough evidence move as their canonical shape does; parts without go along with the coarser part around them, or stay.
    """
    result = before.copy()
    for label in labels:
        member = (label == np.arange(label.max() + 1)[:, None]).astype(np.float64)
        weight = member * seen.weight
        sure = np.array([_enough(canonical[w > 0], numbers) for w in weight])
        if not sure.any():
            continue
        motion = fit(canonical, seen.target, weight[sure], numbers.rounds)
        for part, transform in zip(np.flatnonzero(sure), motion, strict=True):
            result[label == part] = move(transform, canonical[label == part])
    return result


def _enough(points: Array, numbers: BodyNumbers) -> bool:
    if len(points) < numbers.fewest:
        return False
    singular = np.linalg.svd(points - points.mean(0), compute_uv=False)
    return bool(singular[1] > numbers.flat * singular[0])


def bring_back(points: Array, canonical: Array, now: Array, weight: Array, neighbours: int) -> Array:
    """(M, 4, 4) motions that take new `points` (M, 3) to the shape, from known `canonical`, `now` (N, 3), `weight` (N,)."""
    if len(canonical) < 4:
        return np.tile(np.eye(4), (len(points), 1, 1))
    count = min(neighbours, len(canonical))
    distance, index = cKDTree(now).query(points, k=count)
    reach = np.maximum(distance[:, count // 2, None], 1e-9)
    share = weight[index] * np.exp(-((distance / reach) ** 2)) + 1e-9
    return procrustes(torch.from_numpy(now[index]), torch.from_numpy(canonical[index]), torch.from_numpy(share)).numpy()


def turned_normals(canonical: Array, normal: Array, now: Array, neighbours: int) -> Array:
    """(N, 3) `normal` (N, 3) turned as the neighbourhood of each `canonical` point (N, 3) is turned in `now` (N, 3)."""
    count = min(neighbours, len(canonical))
    if count < 4:
        return normal
    index = cKDTree(canonical).query(canonical, k=count)[1]
    motion = procrustes(torch.from_numpy(canonical[index]), torch.from_numpy(now[index])).numpy()
    return np.einsum("nij,nj->ni", motion[:, :3, :3], normal)
