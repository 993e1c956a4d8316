"""The layer of moving objects: Gaussians from tracks and from masked pixels, moved by the fitted bases."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.geometry.spacing import neighbour_spacing
from fourfold.initialize.fit_bases import FitNumbers, FittedBases, fit_bases
from fourfold.initialize.frames import Frame, read_frame
from fourfold.initialize.splats import make_splats
from fourfold.initialize.track_cleaning import CleanTracks, clean_tracks
from fourfold.initialize.tracks_to_bases import ClusterNumbers, bases_from_tracks
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.se3_bases import SE3Bases
from fourfold.scene.scene import DYNAMIC, Layer


@dataclass(frozen=True)
class ObjectNumbers:
    """How the layer of moving objects starts.

    Attributes:
        count: Gaussians at quality "normal" (9-14 thousand in calibration E at 320x180).
        fitted_tracks: tracks that the bases are fitted to at most; the rest take their neighbours' coefficients.
        frames: images whose masked pixels are brought to the canonical time.
        confident: confidence from which a moving pixel's depth is believed.
        reach: a pixel farther than this from every track, in units of the object's size, is not believed either.
        opacity: at the start; spacing_share: standard deviation as a share of the distance to the nearest three neighbours.
    """

    count: int = 12_000
    fitted_tracks: int = 1200
    frames: int = 6
    confident: float = 0.2
    reach: float = 0.25
    opacity: float = 0.7
    spacing_share: float = 0.7
    clusters: ClusterNumbers = ClusterNumbers()
    fit: FitNumbers = FitNumbers()


def object_layer(
    capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator, numbers: ObjectNumbers = ObjectNumbers(), name: str = "object"
) -> Layer | None:
    """The moving objects as Gaussians on shared SE(3) bases with a knot at every time that has a training image; None without usable tracks."""
    motion = object_motion(capture, priors, random, numbers)
    if motion is None:
        return None
    splats = _gaussians(capture, priors, motion, max(100, round(numbers.count * quality.gaussians)), random, numbers)
    return Layer(name, DYNAMIC, SE3Bases(), splats, *motion.tensors())


def object_motion(capture: Capture, priors: Priors, random: np.random.Generator, numbers: ObjectNumbers) -> ObjectMotion | None:
    """Bases fitted to the prior's 3D tracks, with a knot at every time that has a training image; None without usable tracks."""
    if priors.tracks3d is None or len(priors.tracks3d.xyz) == 0:
        return None
    indices = np.flatnonzero(capture.train.any(0))
    tracks = clean_tracks(priors.tracks3d, capture.timestamps, indices)
    if tracks is None:
        return None
    some = tracks if len(tracks) <= numbers.fitted_tracks else tracks.rows(np.sort(random.choice(len(tracks), numbers.fitted_tracks, replace=False)))
    bases = bases_from_tracks(some, numbers.clusters, random)
    fitted = fit_bases(some, bases, camera_centers(capture, indices), numbers.fit)
    return ObjectMotion(tracks, some, fitted, bases.size)


def camera_centers(capture: Capture, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """(K, 3) centre of a training camera at each of the time `indices`; the mean over views where several saw the moment."""
    rotation, translation = capture.world_to_camera[..., :3, :3], capture.world_to_camera[..., :3, 3]
    centers = -np.einsum("vtji,vtj->vti", rotation, translation)
    known = np.isfinite(centers).all(-1) & capture.train
    result = [centers[known[:, t], t].mean(0) if known[:, t].any() else np.full(3, np.nan) for t in indices]
    stacked = np.stack(result)
    return np.where(np.isfinite(stacked), stacked, np.nanmean(stacked, axis=0))


@dataclass(frozen=True)
class ObjectMotion:
    """All cleaned tracks, the `some` of them that bases were fitted to, the fit, and the object's size in scene units."""

    tracks: CleanTracks
    some: CleanTracks
    fitted: FittedBases
    size: float

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What a layer on these bases shares, and what it holds fixed."""
        shared = {"rotation6d": self.fitted.rotation6d.detach(), "translation": self.fitted.translation.detach()}
        return shared, {"knots": torch.from_numpy(self.tracks.knots).float(), "pivot": self.fitted.pivot.detach()}


@dataclass(frozen=True)
class _Seeds:
    """Canonical points (P, 3) with color (P, 3), motion logits (P, B) and pixel footprint (P,), 0 unknown."""

    points: NDArray[np.float64]
    color: NDArray[np.float32]
    logits: NDArray[np.float32]
    footprint: NDArray[np.float64]


def _gaussians(
    capture: Capture, priors: Priors, motion: ObjectMotion, count: int, random: np.random.Generator, numbers: ObjectNumbers
) -> dict[str, Tensor]:
    parts = [_from_tracks(motion, count, random)]
    missing = count - len(parts[0].points)
    frames = _frames_with_movers(capture, priors, motion.tracks, numbers.frames)
    for view, index in frames if missing > 0 else []:
        parts.append(_from_pixels(read_frame(capture, priors, view, index), motion, -(-missing // len(frames)), random, numbers))
    seeds = _Seeds(*(np.concatenate([getattr(part, key) for part in parts]) for key in ("points", "color", "logits", "footprint")))
    if len(seeds.points) < count // 2:
        seeds = _thickened(seeds, count // 2, random)
    spacing = neighbour_spacing(seeds.points)
    low, high = np.quantile(spacing, (0.05, 0.95))
    scale = np.clip(spacing, low, high) * numbers.spacing_share
    scale = np.maximum(scale, 0.3 * seeds.footprint)
    return make_splats(seeds.points, seeds.color, scale, numbers.opacity) | {"motion_logits": torch.from_numpy(seeds.logits).float()}


def _from_tracks(motion: ObjectMotion, count: int, random: np.random.Generator) -> _Seeds:
    """One point per track, up to `count`; tracks that were not fitted take the coefficients of their nearest fitted neighbours."""
    tracks, some, fitted = motion.tracks, motion.some, motion.fitted
    if len(tracks) <= len(some):
        points, logits, color = fitted.means.numpy().astype(np.float64), fitted.logits.numpy(), some.color
    else:
        chosen = tracks.rows(np.sort(random.choice(len(tracks), min(count, len(tracks)), replace=False)))
        points, color = chosen.xyz[:, tracks.canonical], chosen.color
        logits = neighbour_logits(points, some.xyz[:, tracks.canonical], fitted.logits.numpy())[0]
    return _Seeds(points, color, logits, np.zeros(len(points)))


def neighbour_logits(
    points: NDArray[np.floating], known: NDArray[np.floating], logits: NDArray[np.float32], neighbours: int = 3
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """(P, B) inverse-distance mean of the `logits` of the nearest `known` points, and (P,) the distance to the nearest."""
    distance, index = KDTree(known).query(points, k=min(neighbours, len(known)))
    distance, index = distance.reshape(len(points), -1), index.reshape(len(points), -1)
    weight = 1.0 / np.maximum(distance, 1e-9)
    weight /= weight.sum(1, keepdims=True)
    return (weight[..., None] * logits[index]).sum(1).astype(np.float32), distance[:, 0]


def _frames_with_movers(capture: Capture, priors: Priors, tracks: CleanTracks, most: int) -> list[tuple[int, int]]:
    """Training images spread over time in which moving pixels have depth."""
    if priors.depth is None or (priors.masks is None and not capture.has("masks")):
        return []
    indices = tracks.indices[np.linspace(0, len(tracks.indices) - 1, min(most, len(tracks.indices))).round().astype(int)]
    return [(view, int(index)) for index in indices for view in range(capture.views) if capture.train[view, index]]


def _from_pixels(frame: Frame, motion: ObjectMotion, count: int, random: np.random.Generator, numbers: ObjectNumbers) -> _Seeds:
    """Moving pixels of one image with their prior depth, brought back to the canonical time by the motion of the tracks around them."""
    fitted = motion.fitted
    row, column = np.nonzero(frame.moving & (frame.depth > 0) & (frame.confidence >= numbers.confident))
    if len(row) == 0:
        return _Seeds(np.zeros((0, 3)), np.zeros((0, 3), np.float32), np.zeros((0, fitted.logits.shape[1]), np.float32), np.zeros(0))
    pick = random.choice(len(row), min(count, len(row)), replace=False)
    row, column = row[pick], column[pick]
    depth = frame.depth[row, column].astype(np.float64)
    points = frame.unproject(row, column, depth)
    knot = int(np.flatnonzero(motion.tracks.indices == frame.index)[0])
    at_knot = fitted.positions(fitted.means, fitted.logits)[knot].numpy().astype(np.float64)
    logits, distance = neighbour_logits(points, at_knot, fitted.logits.numpy())
    near = distance < numbers.reach * motion.size
    back = fitted.canonical(torch.from_numpy(points[near]).float(), torch.from_numpy(logits[near]), knot).numpy().astype(np.float64)
    return _Seeds(back, frame.color[row, column][near], logits[near], (depth / frame.K[0, 0])[near])


def _thickened(seeds: _Seeds, count: int, random: np.random.Generator) -> _Seeds:
    """Jittered copies up to `count`, where few tracks and no depth are known."""
    extra = random.integers(len(seeds.points), size=max(0, count - len(seeds.points)))
    spread = 0.5 * neighbour_spacing(seeds.points)[extra, None]
    copies = seeds.points[extra] + random.normal(size=(len(extra), 3)) * spread
    return replace(
        seeds,
        points=np.concatenate([seeds.points, copies]),
        color=np.concatenate([seeds.color, seeds.color[extra]]),
        logits=np.concatenate([seeds.logits, seeds.logits[extra]]),
        footprint=np.concatenate([seeds.footprint, seeds.footprint[extra]]),
    )
