"""Motion bases from 3D tracks: clusters of alike motion, each with a rigid motion by weighted Procrustes.

Spec shape_of_motion.md section 4, points 4 to 7.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from torch import Tensor

from fourfold.geometry.alignment import procrustes
from fourfold.initialize.track_cleaning import CleanTracks


@dataclass(frozen=True)
class ClusterNumbers:
    """How tracks are clustered.

    Attributes:
        bases: largest number of motion bases (released default 10; 16 in calibration E).
        position: weight of the canonical position, in radii of the object, beside the unit velocities. 0 is the released code; with it a
            body that moves as one is cut into parts that can bend, instead of by noise.
        smallest: a cluster with fewer tracks, and less than `share` of all, is dropped (100 in the released code, with 40 000 tracks).
        temperature: logits are this times exp(-distance to the cluster's centre).
    """

    bases: int = 16
    position: float = 0.5
    smallest: int = 100
    share: float = 0.01
    temperature: float = 10.0


@dataclass(frozen=True)
class Bases:
    """B motion bases over K knots and how P tracks use them.

    Attributes:
        transforms: (B, K, 4, 4) rigid motions from the canonical time, world units.
        logits: (P, B) motion coefficients before the softmax.
        label: (P,) cluster of each track.
        size: half the largest side of the 5-95 % box of the tracks: the length unit of distances in `logits`.
    """

    transforms: Tensor
    logits: Tensor
    label: NDArray[np.int64]
    size: float


def bases_from_tracks(tracks: CleanTracks, numbers: ClusterNumbers, random: np.random.Generator) -> Bases:
    """Cluster the tracks and give each cluster its rigid motion."""
    low, high = np.quantile(tracks.xyz.reshape(-1, 3), (0.05, 0.95), axis=0)
    size = max(float((high - low).max()) / 2, 1e-9)
    label = cluster(tracks, numbers, random)
    count = int(label.max()) + 1
    canonical = tracks.xyz[:, tracks.canonical]
    centers = np.stack([np.median(canonical[label == b], axis=0) for b in range(count)])
    owner = np.array([tracks.group[label == b][0] for b in range(count)])
    distance = np.linalg.norm(canonical[:, None] - centers, axis=2) / size
    logits = numbers.temperature * np.exp(-distance)
    logits[tracks.group[:, None] != owner[None]] = -numbers.temperature
    transforms = torch.stack([cluster_motion(tracks, label == b) for b in range(count)])
    return Bases(transforms, torch.from_numpy(logits).float(), label, size)


def cluster(tracks: CleanTracks, numbers: ClusterNumbers, random: np.random.Generator) -> NDArray[np.int64]:
    """(P,) cluster of each track. Objects never share a cluster; each gets clusters in proportion to its tracks."""
    label = np.zeros(len(tracks), np.int64)
    first = 0
    for number in np.unique(tracks.group):
        mine = np.flatnonzero(tracks.group == number)
        wanted = max(1, min(round(numbers.bases * len(mine) / len(tracks)), len(mine) // 3))
        feature = _features(tracks.rows(mine), numbers.position)
        found = _kmeans(feature, wanted, random)
        found = _drop_small(feature, found, min(numbers.smallest, max(3, round(numbers.share * len(mine)))))
        label[mine] = found + first
        first += int(found.max()) + 1
    return label


def cluster_motion(tracks: CleanTracks, mine: NDArray[np.bool_]) -> Tensor:
    """(K, 4, 4) rigid motion of one cluster from the canonical time to every knot; a knot with too little evidence repeats its neighbour."""
    xyz, visible, reliable = tracks.xyz[mine], tracks.visible[mine], tracks.reliable[mine]
    count, knots = len(xyz), xyz.shape[1]
    distance = np.linalg.norm(xyz - np.median(xyz, axis=0), axis=2).T  # (K, P)
    ratio = distance / np.maximum(np.median(distance, axis=1, keepdims=True), 1e-12)
    omega = np.exp(-ratio)
    omega = omega / omega.mean(1, keepdims=True)
    omega = np.where(ratio > np.quantile(ratio, 0.9), 0.0, omega) if count > 10 else omega
    omega = omega * np.maximum(visible, reliable > 0).T + 1e-6 * omega
    start = tracks.canonical
    pair = omega[start] * omega * (reliable[:, start] + reliable.T) / 2
    source = torch.from_numpy(np.broadcast_to(xyz[:, start], (knots, count, 3)).copy())
    motion = procrustes(source, torch.from_numpy(xyz.transpose(1, 0, 2).copy()), torch.from_numpy(pair))
    enough = pair.sum(1) >= min(0.1 * knots, 0.1 * count)
    for walk in (range(start - 1, -1, -1), range(start + 1, knots)):
        for t in walk:
            if not enough[t]:
                motion[t] = motion[t + (1 if t < start else -1)]
    motion[start] = torch.eye(4, dtype=motion.dtype)
    return motion.float()


def _features(tracks: CleanTracks, position: float) -> NDArray[np.float64]:
    """(P, F) unit velocities of all steps, and the canonical position in radii of the object."""
    step = np.diff(tracks.xyz, axis=1)
    unit = step / (np.linalg.norm(step, axis=2, keepdims=True) + 1e-5 * max(float(np.abs(step).max(initial=0.0)), 1e-12))
    where = tracks.xyz[:, tracks.canonical]
    where = where - np.median(where, axis=0)
    radius = max(float(np.median(np.linalg.norm(where, axis=1))), 1e-12)
    return np.concatenate([unit.reshape(len(unit), -1) / np.sqrt(max(step.shape[1], 1)), position * where / radius], axis=1)


def _kmeans(feature: NDArray[np.float64], wanted: int, random: np.random.Generator) -> NDArray[np.int64]:
    if wanted == 1:
        return np.zeros(len(feature), np.int64)
    sample = feature if len(feature) <= 4000 else feature[random.choice(len(feature), 4000, replace=False)]
    centers, _ = kmeans2(sample, wanted, iter=20, minit="++", seed=random, missing="warn")  # pyright: ignore[reportCallIssue]
    distance = ((feature[:, None] - centers[None]) ** 2).sum(2) if len(feature) * wanted * feature.shape[1] < 5e7 else _distances(feature, centers)
    return np.unique(distance.argmin(1), return_inverse=True)[1].astype(np.int64)


def _distances(feature: NDArray[np.float64], centers: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([((feature - center) ** 2).sum(1) for center in centers], axis=1)


def _drop_small(feature: NDArray[np.float64], label: NDArray[np.int64], smallest: int) -> NDArray[np.int64]:
    """Give the tracks of clusters below `smallest` to the nearest cluster that stays."""
    count = np.bincount(label)
    stay = np.flatnonzero(count >= smallest)
    if len(stay) == len(count):
        return label
    if len(stay) == 0:
        return np.zeros_like(label)
    centers = np.stack([feature[label == b].mean(0) for b in stay])
    nearest = _distances(feature, centers).argmin(1)
    renumber = np.full(len(count), -1)
    renumber[stay] = np.arange(len(stay))
    return np.where(renumber[label] >= 0, renumber[label], nearest)
