"""Point maps of image pairs put into one world: the global alignment of DUSt3R, with cameras known or not. Equations 4 and 5 of MonoFusion.

For every directed pair e of images n, m a network gives the points of both in the axes of the first, up to a scale: x_n^e and x_m^e. Sought are a
similarity per pair, sigma_e P_e, and a depth per pixel of every image, with points chi_n = P_n^-1 h(K_n^-1 [u, v, 1] d_n), that make

    sum over e, images n of e, pixels of c_n^e || chi_n - sigma_e P_e x_n^e ||

least (spec monofusion.md section 2.2; distances, not their squares, as the released optimiser has it; `robust` False takes squares). The released
code takes 300 steps of Adam; here each block is solved exactly in turn, a similarity by Umeyama, a depth on its ray, a pose by Procrustes, and
longer steps are tried in the same direction. None makes the cost larger. With cameras that stand at one place, or none known, scales shrink
together to nothing: their geometric mean is held at 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.geometry.alignment import procrustes, umeyama
from fourfold.priors.depth_alignment.pair_start import Pair, first_depths, first_poses, first_similarities

Array = NDArray[np.float64]
MOST_LEAP = 30.0


@dataclass(frozen=True)
class GlobalNumbers:
    """How the least cost is sought.

    Attributes:
        sweeps: how often every block is solved; the released code takes 300 steps of all together.
        enough: ends when the cost falls by less than this share. Later sweeps gain little but size: noise draws scales, and with them all depths,
            slowly together.
        robust: distances count, not their squares: each sweep weighs points by one over their distance.
        soft: share of the median distance below which points count alike, so that none weighs without bound.
        thinned: similarities and poses are solved from every n-th point.
        leap: how many steps of the last kind are tried at once after each sweep: what all blocks share, such as the size of the whole, goes slowly
            otherwise. More where that lowered the cost, fewer where not.
    """

    sweeps: int = 60
    enough: float = 1e-3
    robust: bool = True
    soft: float = 0.1
    thinned: int = 3
    leap: float = 4.0


@dataclass(frozen=True)
class Aligned:
    """The answer for N images and E pairs.

    Attributes:
        depth: N arrays (H, W), along each camera's axis, world units; 0 where no pair says anything.
        confidence: N arrays (H, W), the mean weight of the pairs that tell of the image.
        world_to_camera: (N, 4, 4).
        scale, rotation, translation: (E,), (E, 3, 3), (E, 3) the similarities that bring the pairs' points into the world.
        costs: after every sweep, mean weighted distance.
    """

    depth: tuple[Array, ...]
    confidence: tuple[Array, ...]
    world_to_camera: Array
    scale: Array
    rotation: Array
    translation: Array
    costs: tuple[float, ...]


def align_pairs(pairs: Sequence[Pair], K: Array, world_to_camera: Array | None = None, numbers: GlobalNumbers = GlobalNumbers()) -> Aligned:
    """Solve for everything that is not given.

    Args:
        pairs: directed pairs that join all N images.
        K: (N, 3, 3) intrinsics in pixels of the point maps, centres at +0.5.
        world_to_camera: (N, 4, 4) cameras that stay as they are (equation 5), or None: their poses are found too (equation 4), in the axes of
            the first image and units in which the pairs' scales have the geometric mean 1.
    """
    known = world_to_camera is not None
    pose = np.array(world_to_camera, np.float64) if known else first_poses(pairs, K)
    free = not known or _at_one_place(pose)
    rays = [_rays(K[n], *_shape(pairs, n)) for n in range(len(K))]
    state = first_similarities(pairs, K, pose, free)
    depth = first_depths(pairs, rays, pose, state)
    costs: list[float] = []
    leap = numbers.leap
    for _ in range(numbers.sweeps):
        if free:
            state, depth, pose = _normalised(state, depth, pose)
        weights, cost = _weights(pairs, _world(rays, depth, pose), state, numbers)
        costs.append(cost)
        if len(costs) > 1 and costs[-2] - cost < numbers.enough * costs[-2]:
            break
        before = depth
        state = _similarities(pairs, _world(rays, depth, pose), weights, numbers.thinned)
        target, total = _targets(pairs, weights, state, len(K))
        if not known:
            pose = _poses(rays, depth, target, total, pose, numbers.thinned)
        depth = _depths(rays, target, total, pose)
        ahead = [_farther(old, new, leap) for old, new in zip(before, depth, strict=True)]
        tried = [(d, _similarities(pairs, _world(rays, d, pose), weights, numbers.thinned)) for d in (depth, ahead)]
        now, then = (_weights(pairs, _world(rays, d, pose), s, numbers)[1] for d, s in tried)
        depth, state = tried[then < now]
        leap = min(1.5 * leap, MOST_LEAP) if then < now else max(0.5 * leap, 1.0)
    told = [np.zeros(d.shape) for d in depth]
    count = np.zeros(len(K))
    for pair in pairs:
        for image, weight in zip(pair.images, pair.weight, strict=True):
            told[image] += weight
            count[image] += 1
    return Aligned(tuple(depth), tuple(t / max(c, 1) for t, c in zip(told, count, strict=True)), pose, *state, tuple(costs))


State = tuple[Array, Array, Array]
"""Scale (E,), rotation (E, 3, 3) and translation (E, 3) of the pairs."""


def _shape(pairs: Sequence[Pair], image: int) -> tuple[int, int]:
    return next(points.shape[:2] for pair in pairs for n, points in zip(pair.images, pair.points, strict=True) if n == image)


def _rays(K: Array, height: int, width: int) -> Array:
    """(H, W, 3) K^-1 [u, v, 1] of the pixel centres."""
    x, y = np.meshgrid((np.arange(width) + 0.5 - K[0, 2]) / K[0, 0], (np.arange(height) + 0.5 - K[1, 2]) / K[1, 1])
    return np.stack([x, y, np.ones_like(x)], axis=-1)


def _farther(old: Array, new: Array, leap: float) -> Array:
    """Depth changed by `leap` times the last change more, as shares, which count as a tenth at most."""
    return np.where((old > 0) & (new > 0), new * np.clip(new / np.maximum(old, 1e-300), 0.9, 1.1) ** leap, new)


def _at_one_place(pose: Array) -> bool:
    centre = -np.einsum("nji,nj->ni", pose[:, :3, :3], pose[:, :3, 3])
    return bool(np.ptp(centre, axis=0).max() < 1e-9)


def _world(rays: Sequence[Array], depth: Sequence[Array], pose: Array) -> list[Array]:
    """chi: (H, W, 3) of each image."""
    return [(ray * d[..., None] - p[:3, 3]) @ p[:3, :3] for ray, d, p in zip(rays, depth, pose, strict=True)]


def _moved(state: State, number: int, points: Array) -> Array:
    """A pair's points in the world."""
    scale, rotation, translation = state
    return scale[number] * points @ rotation[number].T + translation[number]


def _weights(pairs: Sequence[Pair], chi: Sequence[Array], state: State, numbers: GlobalNumbers) -> tuple[list[list[Array]], float]:
    """Weights (H, W) of each pair's two maps for the coming sweep, and the cost: mean weighted distance."""
    distance = [
        [np.linalg.norm(_moved(state, e, points) - chi[n], axis=-1) for n, points in zip(pair.images, pair.points, strict=True)]
        for e, pair in enumerate(pairs)
    ]
    given = [list(pair.weight) for pair in pairs]
    flat = np.concatenate([d[w > 0] for ds, ws in zip(distance, given, strict=True) for d, w in zip(ds, ws, strict=True)])
    total = sum(float(w.sum()) for ws in given for w in ws)
    power = 1 if numbers.robust else 2
    cost = sum(float((w * d**power).sum()) for ds, ws in zip(distance, given, strict=True) for d, w in zip(ds, ws, strict=True)) / total
    if not numbers.robust:
        return given, cost
    least = max(numbers.soft * float(np.median(flat)), 1e-12)
    return [[w / np.maximum(d, least) for d, w in zip(ds, ws, strict=True)] for ds, ws in zip(distance, given, strict=True)], cost


def _similarities(pairs: Sequence[Pair], chi: Sequence[Array], weights: Sequence[Sequence[Array]], thinned: int) -> State:
    """The similarity of each pair that brings its points nearest to `chi`."""
    found = []
    for pair, own in zip(pairs, weights, strict=True):
        source, target, weight = (
            np.concatenate([part.reshape(-1, *part.shape[2:])[::thinned] for part in parts])
            for parts in (pair.points, [chi[n] for n in pair.images], own)
        )
        found.append(umeyama(*(torch.from_numpy(np.ascontiguousarray(part)) for part in (source, target, weight))))
    return tuple(np.stack([part[i].numpy() for part in found]) for i in range(3))  # type: ignore[return-value]


def _targets(pairs: Sequence[Pair], weights: Sequence[Sequence[Array]], state: State, images: int) -> tuple[list[Array], list[Array]]:
    """Per image the weighted mean (H, W, 3) of what the pairs say in the world, and the sum of weights (H, W)."""
    sums: list[Array | None] = [None] * images
    total: list[Array | None] = [None] * images
    for e, (pair, own) in enumerate(zip(pairs, weights, strict=True)):
        for n, points, weight in zip(pair.images, pair.points, own, strict=True):
            told = weight[..., None] * _moved(state, e, points)
            sums[n] = told if sums[n] is None else sums[n] + told  # type: ignore[operator]
            total[n] = weight if total[n] is None else total[n] + weight  # type: ignore[operator]
    whole = [t for t in total if t is not None]
    return [s / np.maximum(t, 1e-300)[..., None] for s, t in zip(sums, whole, strict=True) if s is not None], whole


def _depths(rays: Sequence[Array], target: Sequence[Array], total: Sequence[Array], pose: Array) -> list[Array]:
    """The depth of every pixel whose point is nearest to its target; 0 where there is none before the camera."""
    found = []
    for ray, point, weight, p in zip(rays, target, total, pose, strict=True):
        local = point @ p[:3, :3].T + p[:3, 3]
        depth = (local * ray).sum(-1) / (ray * ray).sum(-1)
        found.append(np.where((weight > 0) & (depth > 0), depth, 0.0))
    return found


def _poses(rays: Sequence[Array], depth: Sequence[Array], target: Sequence[Array], total: Sequence[Array], pose: Array, thinned: int) -> Array:
    """The pose of every camera but the first that brings its targets nearest to its points."""
    moved = pose.copy()
    for n in range(1, len(pose)):
        known = (total[n] * (depth[n] > 0)).reshape(-1)[::thinned]
        local = (rays[n] * depth[n][..., None]).reshape(-1, 3)[::thinned]
        parts = (np.ascontiguousarray(part) for part in (target[n].reshape(-1, 3)[::thinned], local, known))
        moved[n] = procrustes(*(torch.from_numpy(part) for part in parts)).numpy()
    return moved


def _normalised(state: State, depth: Sequence[Array], pose: Array) -> tuple[State, list[Array], Array]:
    """The same in units in which the scales have the geometric mean 1; the middle of the first camera stays."""
    scale, rotation, translation = state
    factor = float(np.exp(-np.log(scale).mean()))
    first = -pose[0, :3, :3].T @ pose[0, :3, 3]
    grown = pose.copy()
    centre = first + factor * (-np.einsum("nji,nj->ni", pose[:, :3, :3], pose[:, :3, 3]) - first)
    grown[:, :3, 3] = -np.einsum("nij,nj->ni", pose[:, :3, :3], centre)
    return (factor * scale, rotation, first + factor * (translation - first)), [factor * d for d in depth], grown
