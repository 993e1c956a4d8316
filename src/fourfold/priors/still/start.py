"""The first Gaussians of what stands still: frame after frame, what is not covered yet gets Gaussians at the depth of resting tracks.

Depth comes from tracks near in place and colour, far from any of them from ever wider surroundings. What the tracks suspect is covered
last, at the depth around it, and only where no frame shows what is behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.geometry.gaussians import Gaussians
from fourfold.priors.depth.fill import pull_push
from fourfold.priors.masks.track_evidence import JudgedTracks
from fourfold.priors.masks.track_vote import VoteNumbers, gathered
from fourfold.priors.still.frames import StillFrame
from fourfold.render.api import rasterize

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StartNumbers:
    """Numbers of the start.

    Attributes:
        frames: training images that give Gaussians, evenly over time and views.
        step: pixels between the Gaussians of one image.
        covered: alpha from which a pixel needs no Gaussian.
        suspected: suspicion from which a pixel is left to other frames at first.
        far: depth of what is infinitely far, in median depths.
        scale: standard deviation of a Gaussian in steps.
        opacity: of all Gaussians at the start.
        votes: how tracks give their depth to pixels.
    """

    frames: int = 16
    step: int = 3
    covered: float = 0.5
    suspected: float = 0.5
    far: float = 30.0
    scale: float = 0.6
    opacity: float = 0.7
    votes: VoteNumbers = field(default_factory=lambda: VoteNumbers(reach=8.0, colour=16.0))


def first_gaussians(frames: Sequence[StillFrame], tracks: Mapping[int, JudgedTracks], depth: float, numbers: StartNumbers) -> Gaussians:
    """N static Gaussians.

    Args:
        frames: training images only are read.
        tracks: of each view.
        depth: median depth of resting tracks, scene units.
    """
    train = [f for f in frames if f.train]
    chosen = [train[i] for i in np.unique(np.linspace(0, len(train) - 1, min(len(train), numbers.frames)).round().astype(int))]
    order = sorted(range(len(chosen)), key=_spread_order(len(chosen)).__getitem__)
    depths = {n: inverse_depth(chosen[n], tracks[chosen[n].view], depth, numbers) for n in order}
    parts: list[Gaussians] = []
    for suspected in (numbers.suspected, np.inf):
        for n in order:
            hole = np.ones(chosen[n].image.shape[:2], bool)
            if parts:
                with torch.no_grad():
                    hole = rasterize(Gaussians.concatenate(parts), chosen[n].camera).alpha.numpy() < numbers.covered
            part = _gaussians(chosen[n], depths[n], hole & (chosen[n].suspicion <= suspected), numbers)
            if len(part):
                parts.append(part)
    return Gaussians.concatenate(parts)


def depth_range(tracks: JudgedTracks, poses: Array) -> tuple[float, float]:
    """Median depth and 1st percentile of depth of resting tracks with parallax before the cameras (T, 4, 4) that see them; 1 and 1 without any."""
    inverse, sure = _inverse_at(tracks, np.arange(len(tracks.seen.time)), poses[tracks.seen.time])
    good = (inverse > 0) & (sure > 0.1)
    if good.sum() <= 20:
        return 1.0, 1.0
    return float(1 / np.median(inverse[good])), float(1 / np.percentile(inverse[good], 99))


def inverse_depth(frame: StillFrame, tracks: JudgedTracks, usual: float, numbers: StartNumbers) -> NDArray[np.float32]:
    """(h, w) inverse depth of one frame, known everywhere; `usual` is the median depth, scene units."""
    rows = np.flatnonzero(tracks.seen.time == frame.index)
    pose = frame.camera.world_to_camera.numpy().astype(np.float64)
    inverse, sure = _inverse_at(tracks, rows, np.broadcast_to(pose, (len(rows), 4, 4)), 0.3 / usual)
    least = 1 / (numbers.far * usual)
    inverse = np.clip(inverse, least, None)
    if not (sure > 0).any():
        return np.full(frame.image.shape[:2], 1 / usual, np.float32)
    total, weight = gathered(frame.image, tracks.seen.xy[rows] * frame.shrink, np.stack([sure * inverse, sure]), numbers.votes)
    known = weight > 0.05
    filled = pull_push(np.where(known, total / np.maximum(weight, 1e-9), 0), known)
    return np.maximum(filled if known.any() else np.full_like(filled, 1 / usual), np.float32(least))


def _inverse_at(tracks: JudgedTracks, rows: NDArray[np.int64], pose: Array, doubt: float | None = None) -> tuple[Array, Array]:
    """Inverse depth (R,) of the static points of observations `rows` before their cameras (R, 4, 4), and how sure it is (R,) in [0, 1].

    `doubt` is the error of the inverse distance at which a track counts half, scene units; the median inverse distance without it.
    """
    track = tracks.seen.track[rows]
    points = tracks.points
    ahead = np.einsum("rij,rj->ri", pose[:, :3, :3], points.direction[track] + points.rho[track, None] * points.origin[track])
    depth = ahead[:, 2] + points.rho[track] * pose[:, 2, 3]
    sure = tracks.say[track] * (1 - tracks.suspicion[track]) ** 2
    if doubt is None:
        positive = points.rho[track][(points.rho[track] > 0) & (sure > 0)]
        doubt = float(np.median(positive)) if len(positive) else 1.0
    sure = sure / (1 + (np.nan_to_num(points.rho_error[track], nan=1e9, posinf=1e9) * tracks.noise / doubt) ** 2)
    good = np.isfinite(depth) & (depth > 0.05)
    return np.where(good, points.rho[track] / np.where(good, depth, 1), 0), np.where(good, sure, 0)


def _spread_order(count: int) -> list[int]:
    """A rank for each of `count` frames: the middle first, then the ends, then what is farthest from those before."""
    ranks, taken = [0] * count, [count // 2]
    for rank in range(1, count):
        rest = [n for n in range(count) if n not in taken]
        best = max(rest, key=lambda n: (min(abs(n - t) for t in taken), -n))
        ranks[best] = rank
        taken.append(best)
    return ranks


def _gaussians(frame: StillFrame, inverse: NDArray[np.float32], where: NDArray[np.bool_], numbers: StartNumbers) -> Gaussians:
    """One Gaussian in every cell of `step` pixels whose middle pixel is in `where`."""
    rows, columns = np.mgrid[numbers.step // 2 : where.shape[0] : numbers.step, numbers.step // 2 : where.shape[1] : numbers.step]
    chosen = where[rows, columns]
    row, column = rows[chosen], columns[chosen]
    K, pose = frame.camera.K.numpy().astype(np.float64), frame.camera.world_to_camera.numpy().astype(np.float64)
    depth = 1.0 / inverse[row, column].astype(np.float64)
    x, y = (column + 0.5 - K[0, 2]) / K[0, 0] * depth, (row + 0.5 - K[1, 2]) / K[1, 1] * depth
    means = (np.stack([x, y, depth], 1) - pose[:3, 3]) @ pose[:3, :3]
    count = len(row)
    smooth = cv2.blur(frame.color, (numbers.step, numbers.step))[row, column]
    log_scale = np.log(numbers.scale * numbers.step * depth / K[0, 0])
    quat = np.zeros((count, 4), np.float32)
    quat[:, 0] = 1
    return Gaussians(
        torch.from_numpy(means.astype(np.float32)),
        torch.from_numpy(quat),
        torch.from_numpy(np.repeat(log_scale[:, None], 3, 1).astype(np.float32)),
        torch.full((count,), float(np.log(numbers.opacity / (1 - numbers.opacity)))),
        torch.from_numpy(smooth.astype(np.float32)),
    )
