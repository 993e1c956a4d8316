"""Hidden points go with the rigid part they belong to; parts, their motions and their shapes are found from the whole clip.

A window sees a point's surroundings for a moment only, and what it predicts for hidden points drifts. Over the whole clip every point was
seen somewhere, beside others that are seen now: alternating over which part a point belongs to, where it lies on it, and how parts move
uses all of that at once. Works on the result of any tracker.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree

from fourfold.geometry.alignment import procrustes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PartNumbers:
    """How hidden points are settled.

    Attributes:
        parts: at most this many, and no more than points / `fewest`; 0 leaves the tracker's result.
        rounds: alternations. faint: weight of a hidden entry's present estimate beside an anchor's 1.
        neighbours: points whose parts are a point's candidates; alike: how strongly neighbours want the same part, typical errors squared.
        stiff: a point whose error on its part is this many times the typical one is bending, and keeps the tracker's result.
    """

    parts: int = 10
    fewest: int = 25
    rounds: int = 12
    faint: float = 0.05
    neighbours: int = 10
    alike: float = 1.0
    stiff: float = 4.0


@dataclass(frozen=True)
class Parts:
    """Each point's part (N,), place on it (N, 3) and typical error (N,) scene units, and the parts' motions (P, T, 4, 4)."""

    label: NDArray[np.intp]
    place: Array
    error: Array
    motion: Array


def settle_hidden(xyz: Array, weight: Array, numbers: PartNumbers = PartNumbers()) -> Array:
    """(T, N, 3) `xyz` with the entries of weight 0 moved to where their rigid parts are.

    Args:
        xyz: (T, N, 3) a tracker's result; weight: (T, N) how surely an entry is known, 1 for an anchor, 0 for a hidden point.
    """
    if numbers.parts == 0 or xyz.shape[1] < 2 * numbers.fewest:
        return xyz
    found = find_parts(xyz, weight, numbers)
    motion = found.motion[found.label].transpose(1, 0, 2, 3)
    rigid = np.einsum("tnij,nj->tni", motion[..., :3, :3], found.place) + motion[..., :3, 3]
    trust = 1 / (1 + (found.error / max(numbers.stiff * float(np.median(found.error)), 1e-12)) ** 4)
    settled = xyz + trust[:, None] * (rigid - xyz)
    return np.where((weight > 0)[..., None], xyz, settled)


def find_parts(xyz: Array, weight: Array, numbers: PartNumbers) -> Parts:
    """Alternate over motions, places and memberships."""
    times, count = weight.shape
    label = _first_labels(xyz, numbers)
    strength = np.maximum(weight, numbers.faint)
    reference = int(weight.sum(1).argmax())
    place = xyz[reference].copy()
    _, near = cKDTree(xyz[:: max(1, times // 12)].transpose(1, 0, 2).reshape(count, -1)).query(
        xyz[:: max(1, times // 12)].transpose(1, 0, 2).reshape(count, -1), k=min(numbers.neighbours + 1, count)
    )
    parts = int(label.max()) + 1
    motion, error = np.tile(np.eye(4), (parts, times, 1, 1)), np.zeros(count)
    for _ in range(numbers.rounds):
        for part in range(parts):
            mine = label == part
            if mine.sum() >= 4:
                motion[part] = _motion(place[mine], xyz[:, mine], strength[:, mine])
        places, errors = _places(motion, xyz, strength)
        typical = float(np.median(errors[label, np.arange(count)])) ** 2
        others = np.stack([(label[near[:, 1:]] != part).mean(1) for part in range(parts)])
        candidate = others < 1
        candidate[label, np.arange(count)] = True
        label = np.where(candidate, errors**2 + numbers.alike * typical * others, np.inf).argmin(0).astype(np.intp)
        place, error = places[label, np.arange(count)], errors[label, np.arange(count)]
    return Parts(label, place, error, motion)


def _first_labels(xyz: Array, numbers: PartNumbers) -> NDArray[np.intp]:
    """Clusters of points that stay near each other over the clip."""
    times, count = xyz.shape[:2]
    wanted = max(1, min(numbers.parts, count // numbers.fewest))
    feature = xyz[:: max(1, times // 18)].transpose(1, 0, 2).reshape(count, -1)
    return kmeans2(feature, wanted, minit="++", seed=np.random.default_rng(0), missing="warn")[1].astype(np.intp)  # pyright: ignore[reportCallIssue]


def _motion(place: Array, xyz: Array, weight: Array, rounds: int = 4) -> Array:
    """(T, 4, 4) robust rigid motion of places (n, 3) to positions (T, n, 3) with weights (T, n)."""
    source = torch.from_numpy(np.broadcast_to(place, xyz.shape).copy())
    target, now = torch.from_numpy(np.ascontiguousarray(xyz)), weight
    motion = np.zeros((len(xyz), 4, 4))
    for _ in range(rounds):
        motion = procrustes(source, target, torch.from_numpy(now)).numpy()
        error = np.linalg.norm(np.einsum("tij,nj->tni", motion[:, :3, :3], place) + motion[:, None, :3, 3] - xyz, axis=2)
        now = weight / (1 + (error / max(3 * _typical(error, weight), 1e-9)) ** 2) ** 2
    return motion


def _typical(error: Array, weight: Array) -> float:
    known = error[weight >= 0.5 * weight.max()]
    return float(np.median(known)) if known.size else 1.0


def _places(motion: Array, xyz: Array, weight: Array) -> tuple[Array, Array]:
    """For every part, each point's place on it (P, N, 3) and its error there (P, N): robust means over time."""
    places, errors = [], []
    for transform in motion:
        back = np.einsum("tji,tnj->tni", transform[:, :3, :3], xyz - transform[:, None, :3, 3])
        share = weight
        place = (share[..., None] * back).sum(0) / share.sum(0)[:, None]
        for _ in range(3):
            distance = np.linalg.norm(back - place, axis=2)
            scale = np.maximum((share * distance).sum(0) / share.sum(0), 1e-9)
            share = weight / (1 + (distance / (2 * scale)) ** 2) ** 2
            place = (share[..., None] * back).sum(0) / share.sum(0)[:, None]
        distance = np.linalg.norm(back - place, axis=2)
        places.append(place)
        errors.append((share * distance).sum(0) / share.sum(0))
    return np.stack(places), np.stack(errors)
