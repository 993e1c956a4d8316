"""Where the global alignment of point maps begins: poses along the surest pairs, and each pair's similarity from where its cameras stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError

Array = NDArray[np.float64]
PNP_POINTS = 2000
"""Points from which a camera's pose is solved."""


@dataclass(frozen=True)
class Pair:
    """What a network says of two images.

    Attributes:
        images: numbers of the first and the second.
        points: (H, W, 3) of each, in the axes of the first camera, in units of the pair's own.
        weight: (H, W) of each, 0 for nothing (logarithms of the network's confidences, which are 1 and more).
    """

    images: tuple[int, int]
    points: tuple[Array, Array]
    weight: tuple[Array, Array]


def pose_of(points: Array, weight: Array, K: Array) -> Array | None:
    """(4, 4) the rigid motion that brings `points` (H, W, 3) onto the rays of their own pixels, centres at +0.5; None where none is found."""
    height, width = points.shape[:2]
    sure = np.flatnonzero((weight > 0).ravel() & np.isfinite(points).all(-1).ravel())
    sure = sure[np.argsort(-weight.ravel()[sure], kind="stable")][: max(PNP_POINTS, len(sure) // 2)]
    sure = sure[:: max(1, len(sure) // PNP_POINTS)]
    if len(sure) < 8:
        return None
    pixels = np.stack([sure % width + 0.5, sure // width + 0.5], axis=1).astype(np.float64)
    cv2.setRNGSeed(0)
    error = 0.01 * max(height, width)
    found, turn, shift, _ = cv2.solvePnPRansac(points.reshape(-1, 3)[sure], pixels, K, None, reprojectionError=error, flags=cv2.SOLVEPNP_SQPNP)
    if not found:
        return None
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(turn)[0], shift[:, 0]
    return pose


def first_poses(pairs: Sequence[Pair], K: Array) -> Array:
    """(N, 4, 4) world_to_camera of all images in the axes of image 0, along the surest pairs whose other image is placed already.

    FourfoldError if the pairs do not join the images.
    """
    placed: dict[int, Array] = {0: np.eye(4)}
    wide: dict[int, float] = {}  # how far apart the points of a placed image lie, in units of the first one's surest pair
    while len(placed) < len(K):
        open_pairs = [p for p in pairs if (p.images[0] in placed) != (p.images[1] in placed)]
        for pair in sorted(open_pairs, key=lambda p: -float(p.weight[0].mean() * p.weight[1].mean())):
            between = pose_of(pair.points[1], pair.weight[1], K[pair.images[1]])  # from the first camera's axes to the second's
            if between is None:
                continue
            a, b = pair.images
            here, new = (a, b) if a in placed else (b, a)
            scale = wide.setdefault(here, _spread(pair, here)) / max(_spread(pair, here), 1e-12)
            between[:3, 3] *= scale
            placed[new] = between @ placed[a] if here == a else np.linalg.inv(between) @ placed[b]
            wide[new] = scale * _spread(pair, new)
            break
        else:
            apart = sorted(set(range(len(K))) - placed.keys())
            raise FourfoldError(f"the pairs of images do not join all {len(K)} of them: {', '.join(map(str, apart))} stay apart")
    return np.stack([placed[n] for n in range(len(K))])


def _spread(pair: Pair, image: int) -> float:
    """How far apart the points of `image` lie in a pair: median distance from their mean."""
    points, weight = next((p, w) for n, p, w in zip(pair.images, pair.points, pair.weight, strict=True) if n == image)
    own = points[weight > 0]
    return float(np.median(np.linalg.norm(own - own.mean(0), axis=-1)))


def first_similarities(pairs: Sequence[Pair], K: Array, pose: Array, free: bool) -> tuple[Array, Array, Array]:
    """Scale (E,), rotation (E, 3, 3) and translation (E, 3): each pair stands where its first camera does, as large as its cameras are apart.

    Pairs whose second camera cannot be placed, or whose cameras stand at one place, take the median scale of the others, or 1.
    """
    scale = np.full(len(pairs), np.nan)
    centre = -np.einsum("nji,nj->ni", pose[:, :3, :3], pose[:, :3, 3])
    for e, pair in enumerate(pairs):
        between = pose_of(pair.points[1], pair.weight[1], K[pair.images[1]])
        apart = float(np.linalg.norm(centre[pair.images[1]] - centre[pair.images[0]]))
        if between is not None and apart > 1e-9:
            own = float(np.linalg.norm(between[:3, :3].T @ between[:3, 3]))
            scale[e] = apart / own if own > 1e-9 else np.nan
    known = np.isfinite(scale)
    if free and not known.any():
        scale[:] = [1.0 / max(_spread(pair, pair.images[0]), 1e-12) for pair in pairs]
        known[:] = True
    scale = np.where(known, scale, float(np.median(scale[known])) if known.any() else 1.0)
    first = [pair.images[0] for pair in pairs]
    return scale, pose[first, :3, :3].swapaxes(1, 2).copy(), centre[first].copy()


def first_depths(pairs: Sequence[Pair], rays: Sequence[Array], pose: Array, state: tuple[Array, Array, Array]) -> list[Array]:
    """(H, W) of each image: what its surest pair says, 0 where that is behind the camera or nothing."""
    best: dict[int, tuple[float, Array]] = {}
    for e, pair in enumerate(pairs):
        for n, points, weight in zip(pair.images, pair.points, pair.weight, strict=True):
            sure = float(weight.mean())
            if n not in best or sure > best[n][0]:
                world = state[0][e] * points @ state[1][e].T + state[2][e]
                local = world @ pose[n, :3, :3].T + pose[n, :3, 3]
                best[n] = sure, np.where((weight > 0) & (local[..., 2] > 0), (local * rays[n]).sum(-1) / (rays[n] ** 2).sum(-1), 0.0)
    return [best[n][1] for n in range(len(rays))]
