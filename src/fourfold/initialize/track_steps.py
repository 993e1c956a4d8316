"""How motion bases step from moment to moment, told by the long tracks that their Gaussians cover."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree

from fourfold.capture.capture import Capture
from fourfold.initialize.frames import Frame, read_frame
from fourfold.priors.contracts import LongTracks, Priors
from fourfold.scene.motion.se3_bases import SE3Bases
from fourfold.scene.scene import Layer

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StepNumbers:
    """Which tracks tell the steps of a basis.

    Attributes:
        near: a track belongs to the basis that moves the nearest Gaussian most, if that is within so many pixels.
        fewest: tracks that tell a step from moment to moment; a basis with fewer is told by all tracks together.
    """

    near: float = 4.0
    fewest: int = 3


@dataclass(frozen=True)
class _Seen:
    """Tracks on movers in one image: track (N,) number, ray (N, 3) in the world of depth 1, the camera's centre (3,), depth (N,) of the nearest
    Gaussian and basis (N,) that moves that most."""

    track: NDArray[np.int64]
    ray: Array
    centre: Array
    depth: Array
    basis: NDArray[np.int64]


def paths_of_bases(layer: Layer, capture: Capture, priors: Priors, tracks: LongTracks, numbers: StepNumbers = StepNumbers()) -> Array:
    """(B, K, 3) scene units: the path, from zero, of the tracks that each basis moves; each track at the depth of the Gaussian that covers it.

    Only images at the knots are looked at, which are training images of the one camera that filmed.
    """
    assert isinstance(layer.motion, SE3Bases)
    view, knots = int(np.flatnonzero(capture.train.any(axis=1))[0]), layer.fixed["knots"]
    with torch.no_grad():
        own = layer.splats["motion_logits"].argmax(dim=1).cpu().numpy()
        moved = layer.motion.at(layer, knots)
    seen: list[_Seen] = []
    for knot, gaussians in zip(knots, moved, strict=True):
        frame = read_frame(capture, priors, view, int(np.abs(capture.timestamps - float(knot)).argmin()))
        there = np.ones(len(own), bool) if gaussians.visibility is None else gaussians.visibility.cpu().numpy() > 0.5
        seen.append(_seen(frame, tracks, gaussians.means.cpu().numpy(), there, own, numbers.near))
    bases = layer.splats["motion_logits"].shape[1]
    votes = np.zeros((len(tracks.view), bases), np.int32)
    for image in seen:
        np.add.at(votes, (image.track, image.basis), 1)
    belongs = np.where(votes.any(axis=1), votes.argmax(axis=1), -1)
    together = np.nan_to_num(_steps(seen, belongs >= 0, 1))
    steps = [_steps(seen, belongs == basis, numbers.fewest) for basis in range(bases)]
    return np.stack([np.concatenate([np.zeros((1, 3)), np.where(np.isfinite(one), one, together)]).cumsum(axis=0) for one in steps])


def _seen(frame: Frame, tracks: LongTracks, means: NDArray[np.floating], there: NDArray[np.bool_], own: NDArray[np.int64], near: float) -> _Seen:
    rows = np.flatnonzero((tracks.time == frame.index) & (tracks.view[tracks.track] == frame.view))
    column, row = (np.clip(tracks.xy[rows, axis].astype(int), 0, frame.moving.shape[1 - axis] - 1) for axis in (0, 1))
    rows = rows[frame.moving[row, column]]
    xy, depth = frame.project(means)
    there = np.flatnonzero(frame.pictured(xy, depth) & there)
    if len(there) == 0:
        rows, place = rows[:0], there
    else:
        distance, nearest = KDTree(xy[there]).query(tracks.xy[rows])
        rows, place = rows[distance < near], there[nearest[distance < near]]
    rotation, shift = frame.world_to_camera[:3, :3], frame.world_to_camera[:3, 3]
    ray = np.concatenate([tracks.xy[rows], np.ones((len(rows), 1))], axis=1) @ np.linalg.inv(frame.K).T @ rotation
    return _Seen(tracks.track[rows].astype(np.int64), ray, -shift @ rotation, depth[place], own[place])


def _steps(seen: list[_Seen], chosen: NDArray[np.bool_], fewest: int) -> Array:
    """(K - 1, 3) median step between knots of the `chosen` tracks; NaN where fewer than `fewest` are seen at both."""
    result = np.full((len(seen) - 1, 3), np.nan)
    for k, (here, there) in enumerate(pairwise(seen)):
        _, a, b = np.intersect1d(here.track, there.track, assume_unique=True, return_indices=True)
        keep = chosen[here.track[a]]
        if keep.sum() >= fewest:
            a, b = a[keep], b[keep]
            depth = (here.depth[a] + there.depth[b])[:, None] / 2
            result[k] = np.median(there.centre + depth * there.ray[b] - here.centre - depth * here.ray[a], axis=0)
    return result
