"""Foreground points of all cameras at one moment, coloured and with features: spec monofusion.md sections 3 and 4.

Instead of each camera's pixels they may be the surface of the movers' hull, each point once, in the median colour of the cameras that see
it (spec calibration.md B and C): where depth comes from hulls anyway, that is the same surface without the cameras' disagreement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from fourfold.capture.capture import Capture
from fourfold.initialize.frames import Frame, read_frame
from fourfold.priors.contracts import Clouds, Masks, Priors
from fourfold.priors.features.motion_groups import sampled_features
from fourfold.priors.rigs.hull import silhouette, visible


@dataclass(frozen=True)
class SeenPoints:
    """P points at the canonical moment: xyz (P, 3) scene units, color (P, 3) RGB, feature (P, C) (C = 0 without a features prior), footprint
    (P,) width of a pixel at their depth (of a point of a hull: half its voxel), view (P,) the camera they come from (of a hull: that sees it last,
    -1 for none)."""

    xyz: NDArray[np.float64]
    color: NDArray[np.float32]
    feature: NDArray[np.float32]
    footprint: NDArray[np.float64]
    view: NDArray[np.int64]

    def rows(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> SeenPoints:
        """The `chosen` points."""
        return SeenPoints(self.xyz[chosen], self.color[chosen], self.feature[chosen], self.footprint[chosen], self.view[chosen])


def canonical_moment(capture: Capture, priors: Priors, sure: float) -> int:
    """The time index at which the training cameras together see most moving pixels with depth of at least this confidence."""
    seen = np.zeros(capture.times, np.int64)
    for view, index in capture.train_frames():
        frame = read_frame(capture, priors, view, index)
        seen[index] += int((frame.moving & (frame.depth > 0) & (frame.confidence >= sure)).sum())
    return int(seen.argmax())


def foreground_points(capture: Capture, priors: Priors, index: int, sure: float, count: int, random: np.random.Generator) -> SeenPoints | None:
    """About `count` points: the moving pixels of all cameras at time `index`, moved at random within their pixel; None where there are none.

    A pixel is used more than once where there are fewer than `count`.
    """
    frames = [read_frame(capture, priors, int(v), index) for v in np.flatnonzero(capture.train[:, index])]
    found = [np.argwhere(f.moving & (f.depth > 0) & (f.confidence >= sure)) for f in frames]
    total = sum(len(pixels) for pixels in found)
    if total == 0:
        return None
    parts = [_points(capture, priors, f, p, round(count * len(p) / total), random) for f, p in zip(frames, found, strict=True) if len(p)]
    return SeenPoints(*(np.concatenate([getattr(part, key) for part in parts]) for key in ("xyz", "color", "feature", "footprint", "view")))


def crowded_moment(clouds: Clouds, train: NDArray[np.bool_]) -> int:
    """The time index, of those that are trained on, whose cloud has the largest surface: there bodies are apart and hide each other least.

    Args:
        train: (V, T).
    """
    keys = [int(k) for k in np.unique(clouds.index) if train[:, k].any()]
    return max(keys, key=lambda k: float((clouds.spacing[clouds.index == k].astype(np.float64) ** 2).sum()))


def hull_points(capture: Capture, priors: Priors, index: int, count: int, random: np.random.Generator) -> SeenPoints:
    """`count` points of the cloud at time `index`, moved at random within their voxels; needs the priors "clouds" and "masks".

    A point is used more than once where there are fewer than `count`. Features are the mean over the cameras that see the point.
    """
    clouds = priors.require(Clouds)
    rows = np.flatnonzero(clouds.index == index)
    xyz = clouds.xyz[rows].astype(np.float64)
    look, view = _seen_features(capture, priors, index, xyz, float(np.median(clouds.spacing[rows])))
    whole, rest = divmod(count, len(rows))
    pick = np.concatenate([np.tile(np.arange(len(rows)), whole), random.choice(len(rows), rest, replace=False)]).astype(np.int64)
    spacing = clouds.spacing[rows][pick].astype(np.float64)
    moved = xyz[pick] + random.uniform(-0.5, 0.5, (count, 3)) * spacing[:, None]
    return SeenPoints(moved, clouds.color[rows][pick], look[pick], spacing / 2, view[pick])


def _seen_features(
    capture: Capture, priors: Priors, index: int, xyz: NDArray[np.float64], voxel: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(P, C) mean features over the cameras that see a point, those of the nearest seen point where none does, and the last camera that does."""
    masks = priors.require(Masks)
    total, times, last = None, np.zeros(len(xyz)), np.full(len(xyz), -1, np.int64)
    for view in (int(v) for v in np.flatnonzero(capture.train[:, index])):
        state = np.asarray(masks.mask[view][index])
        shown, where = visible(xyz, silhouette(state >= 0, capture.K[view, index], capture.world_to_camera[view, index]), voxel)
        chosen = np.flatnonzero(shown)
        chosen = chosen[state[where[chosen, 1], where[chosen, 0]] > 0]
        found = features_at(capture, priors, view, index, where[chosen] + 0.5)
        total = np.zeros((len(xyz), found.shape[1]), np.float32) if total is None else total
        total[chosen] += found
        times[chosen] += 1
        last[chosen] = view
    if total is None:
        return np.zeros((len(xyz), 0), np.float32), last
    mean = total / np.maximum(times, 1)[:, None].astype(np.float32)
    known = times > 0
    if known.any() and not known.all():
        mean[~known] = mean[known][KDTree(xyz[known]).query(xyz[~known])[1]]
    return mean, last


def features_at(capture: Capture, priors: Priors, view: int, index: int, xy: NDArray[np.floating]) -> NDArray[np.float32]:
    """(P, C) features of the image at pixels `xy` (P, 2), C = 0 without a features prior."""
    if priors.features is None:
        return np.zeros((len(xy), 0), np.float32)
    width, height = (int(n) for n in capture.sizes[view])
    return sampled_features(priors.features.feature[view][index], xy, (width, height))


def _points(capture: Capture, priors: Priors, frame: Frame, pixels: NDArray[np.int64], wanted: int, random: np.random.Generator) -> SeenPoints:
    whole, rest = divmod(wanted, len(pixels))
    pick = np.concatenate([np.tile(np.arange(len(pixels)), whole), random.choice(len(pixels), rest, replace=False)]).astype(np.int64)
    row, column = pixels[pick].T
    depth = frame.depth[row, column].astype(np.float64)
    shift = random.uniform(-0.5, 0.5, (len(pick), 2))
    xyz = frame.unproject(row + shift[:, 1], column + shift[:, 0], depth)  # pyright: ignore[reportArgumentType]
    look = features_at(capture, priors, frame.view, frame.index, np.stack([column + 0.5, row + 0.5], 1))
    return SeenPoints(xyz, frame.color[row, column], look, depth / frame.K[0, 0], np.full(len(pick), frame.view))
