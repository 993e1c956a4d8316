"""The local affine motion around every track, from the tracks that started beside it: predicts hidden points and the change of a patch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Points = NDArray[np.float32]


@dataclass(frozen=True)
class LocalConfig:
    """Numbers of the local motion.

    Attributes:
        neighbours: tracks beside each track.
        tolerance: misfit, pixels at 640 longer side, at which a neighbour counts a quarter.
        stiff: weight of the change of shape found before, as squared pixels at 640 of neighbours that would confirm it.
        rounds: rounds of reweighting.
        memory: share of a neighbour's old weight in its new one: points that moved alike so far likely go on.
        fewest: sum of weights below which the neighbours say nothing.
    """

    neighbours: int = 16
    tolerance: float = 1.6
    stiff: float = 12.0
    rounds: int = 3
    memory: float = 0.7
    fewest: float = 0.08


@dataclass
class Neighbourhood:
    """Neighbours of N tracks: index (N, K), offset (N, K, 2) from the track in the query frame, base (N, K) weights by distance, weight (N, K)."""

    index: NDArray[np.intp]
    offset: Points
    base: NDArray[np.float32]
    weight: NDArray[np.float32]


def neighbourhood(points: Points, group: NDArray[np.int32], config: LocalConfig) -> Neighbourhood:
    """The nearest tracks of the same group around (N, 2) points, the track itself first."""
    count = config.neighbours + 1
    index = np.tile(np.arange(len(points))[:, None], (1, count))
    base = np.zeros((len(points), count), np.float32)
    for label in np.unique(group):
        own = np.flatnonzero(group == label)
        near = min(count, len(own))
        distance, found = cKDTree(points[own]).query(points[own], k=near)
        distance, found = distance.reshape(len(own), near), found.reshape(len(own), near)
        index[own[:, None], np.arange(near)] = own[found]
        reach = np.maximum(distance[:, -1:], 1e-3) / 1.5
        base[own[:, None], np.arange(near)] = np.exp(-0.5 * (distance / reach) ** 2)
    base /= np.maximum(base.sum(axis=1, keepdims=True), 1e-6)
    return Neighbourhood(index, points[index] - points[:, None], base, np.ones_like(base))


def local_motion(
    near: Neighbourhood, xy: Points, trust: NDArray[np.float32], shape: NDArray[np.float32], unit: float, config: LocalConfig
) -> tuple[Points, NDArray[np.float32], NDArray[np.bool_]]:
    """Where the neighbours say each track is, and the affine change of its surroundings since the query frame.

    Weighted least squares, reweighted by misfit (Geman-McClure); `near.weight` is updated.

    Args:
        xy: (N, 2) positions now; trust: (N,) 0 for tracks that are hidden, up to 1.
        shape: (N, 2, 2) change up to the moment before.
        unit: pixels per pixel of an image of 640.

    Returns:
        (N, 2) predicted positions, (N, 2, 2) change, and (N,) whether enough neighbours were there.
    """
    at = xy[near.index]
    base = near.base * trust[near.index]
    weight = base * near.weight
    shift, found, fit = np.zeros_like(xy), shape, np.ones_like(weight)
    for _ in range(config.rounds):
        total = np.maximum(weight.sum(axis=1), 1e-9)[:, None]
        middle_from, middle_to = ((weight[..., None] * v).sum(axis=1) / total for v in (near.offset, at))
        a, b = near.offset - middle_from[:, None], at - middle_to[:, None]
        ridge = np.float32(config.stiff * unit**2)
        weighted = a * (weight / total)[..., None]
        scatter = a.transpose(0, 2, 1) @ weighted + ridge * np.eye(2, dtype=np.float32)
        cross = b.transpose(0, 2, 1) @ weighted + ridge * shape
        found = cross @ np.linalg.inv(scatter)
        shift = middle_to - (found @ middle_from[..., None])[..., 0]
        away = at - shift[:, None] - near.offset @ found.transpose(0, 2, 1)
        misfit = np.sqrt(away[..., 0] ** 2 + away[..., 1] ** 2)
        fit = 1 / (1 + (misfit / (config.tolerance * unit)) ** 2) ** 2
        weight = base * (config.memory * near.weight + (1 - config.memory) * fit) * fit
    seen = trust[near.index] > 0
    near.weight = np.where(seen, config.memory * near.weight + (1 - config.memory) * fit, near.weight).astype(np.float32)
    enough = weight.sum(axis=1) > config.fewest
    return shift.astype(np.float32), found.astype(np.float32), enough
