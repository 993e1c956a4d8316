"""Where a bundle starts that knows nothing: cameras that stand or only turn, by orthogonal Procrustes between neighbouring frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fourfold.priors.cameras.bundle_system import Array, Sightings, Solved

ROUNDS = 15
"""Reweighted alignments of two frames."""
FEWEST = 8
"""Tracks that two frames must share to be turned to each other; with fewer they are taken to look the same way."""


def rays_of(seen: Sightings, focal: Array) -> Array:
    """(M, 3) unit vectors before each observation's own camera, without distortion."""
    lens = seen.lens_of[seen.frame]
    rays = np.concatenate([(seen.xy - seen.centre[lens]) / focal[lens, None], np.ones((len(seen.xy), 1))], axis=1)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def standing_start(seen: Sightings, focal: Array) -> Solved:
    """All cameras alike."""
    return with_rotations(seen, np.tile(np.eye(3), (seen.frames, 1, 1)), focal)


def turned_start(seen: Sightings, focal: Array) -> Solved:
    """Every camera turned against the one before it as their common tracks say; the first camera of each view looks along the axes."""
    rays, track = rays_of(seen, focal), seen.track
    by_frame = np.argsort(seen.frame, kind="stable")
    edges = np.searchsorted(seen.frame[by_frame], np.arange(seen.frames + 1))
    rotation = np.tile(np.eye(3), (seen.frames, 1, 1))
    for frame in range(1, seen.frames):
        if seen.lens_of[frame] != seen.lens_of[frame - 1]:
            continue
        a, b = (by_frame[edges[f] : edges[f + 1]] for f in (frame - 1, frame))
        _, in_a, in_b = np.intersect1d(track[a], track[b], assume_unique=True, return_indices=True)
        lens = int(seen.lens_of[frame])
        turn = relative_rotation(rays[a[in_a]], rays[b[in_b]], float(focal[lens])) if len(in_a) >= FEWEST else np.eye(3)
        rotation[frame] = turn @ rotation[frame - 1]
    return with_rotations(seen, rotation, focal)


def relative_rotation(a: Array, b: Array, focal: float) -> Array:
    """(3, 3) R with R a ~ b for unit vectors (M, 3), by reweighted orthogonal Procrustes; `focal` turns angles into pixels."""
    weight, turn = np.ones(len(a)), np.eye(3)
    for _ in range(ROUNDS):
        u, _, vt = np.linalg.svd(np.einsum("n,ni,nj->ij", weight, b, a))  # summed in one order, whatever the number of threads
        turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
        error = np.linalg.norm(np.einsum("ij,nj->ni", turn, a) - b, axis=1) * focal
        scale = max(0.3, 1.5 * float(np.median(error)))
        weight = 1 / (1 + (error / scale) ** 2) ** 2
    return turn


def with_rotations(seen: Sightings, rotation: NDArray[np.float64], focal: Array) -> Solved:
    """The tracks as mean directions under given rotations (F, 3, 3), at distance one from cameras in one place."""
    turned = np.einsum("mji,mj->mi", rotation[seen.frame], rays_of(seen, focal))
    total = np.stack([np.bincount(seen.track, turned[:, i], seen.tracks) for i in range(3)], axis=1)
    direction = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    return Solved(rotation, np.zeros((seen.frames, 3)), direction, np.ones(seen.tracks), focal.astype(np.float64), np.zeros(len(focal)))
