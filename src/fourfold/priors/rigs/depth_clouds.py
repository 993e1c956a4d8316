"""Moving points from depth: what the masks show, put where the depth says, with velocities to the next moment's nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fourfold.capture.capture import Capture
from fourfold.files import give_back
from fourfold.geometry.spacing import neighbour_spacing
from fourfold.priors.contracts import Clouds, Depth, Masks, Priors, Provenance
from fourfold.priors.depth.sweep_references import unproject
from fourfold.priors.providers import Provider


@dataclass(frozen=True)
class DepthCloudNumbers:
    """How clouds are made.

    Attributes:
        most: points at one moment.
        longest: moments at most, evenly over the recording.
        neighbours: spec sharptimegs_freetimegs.md A2: the velocity is the mean displacement to so many nearest neighbours.
        reach: displacements beyond this many point spacings are taken for wrong.
        erode: pixels at the border of a mask that are left out, for depth is wrong there.
    """

    most: int = 6_000
    longest: int = 30
    neighbours: int = 3
    reach: float = 4.0
    erode: int = 1


def depth_clouds(capture: Capture, masks: Masks, depth: Depth, numbers: DepthCloudNumbers = DepthCloudNumbers()) -> Clouds:
    """Clouds of what the masks show at up to `numbers.longest` moments."""
    times = np.flatnonzero(capture.train.any(axis=0))
    keys = [int(t) for t in times[np.unique(np.linspace(0, len(times) - 1, min(numbers.longest, len(times))).round().astype(int))]]
    found = [(t, *_cloud(capture, masks, depth, t, numbers)) for t in keys]
    found = [(t, xyz, color) for t, xyz, color in found if len(xyz) > numbers.neighbours]
    none = np.zeros((0, 3), np.float32)
    if not found:
        return Clouds(Provenance("depth_clouds"), none, np.zeros(0, np.int32), none, none, np.zeros(0, np.float32))
    velocity: list[NDArray[np.float32]] = []
    for number, (t, xyz, _) in enumerate(found):
        other = found[number + 1] if number + 1 < len(found) else found[max(number - 1, 0)]
        gap = float(capture.timestamps[other[0]] - capture.timestamps[t])
        velocity.append(nearest_velocity(xyz, other[1], gap, numbers.neighbours, numbers.reach))
    return Clouds(
        Provenance("depth_clouds", figures={"moments": len(found), "points": sum(len(xyz) for _, xyz, _ in found)}),
        np.concatenate([xyz for _, xyz, _ in found]).astype(np.float32),
        np.concatenate([np.full(len(xyz), t, np.int32) for t, xyz, _ in found]),
        np.concatenate(velocity),
        np.concatenate([color for *_, color in found]),
        np.concatenate([neighbour_spacing(xyz) for _, xyz, _ in found]),
    )


def nearest_velocity(
    points: NDArray[np.floating], later: NDArray[np.floating], gap: float, neighbours: int = 3, reach: float = 4.0
) -> NDArray[np.float32]:
    """(N, 3) velocity of `points` (N, 3), scene units per second, towards their nearest neighbours in the cloud `gap` seconds later.

    The mean displacement of the whole cloud is taken off before neighbours are searched and put back afterwards, so that a body that
    moves farther than its points are apart is followed. A point counts only if it is among the nearest of its own nearest (one to
    one) within `reach` point spacings; the others take the median of the nearest points that count.
    """
    if gap == 0 or len(later) < neighbours or len(points) < neighbours:
        return np.zeros((len(points), 3), np.float32)
    drift = later.mean(axis=0) - points.mean(axis=0)
    moved = points + drift
    distance, index = cKDTree(later).query(moved, k=neighbours)
    distance, index = np.asarray(distance).reshape(len(points), -1), np.asarray(index).reshape(len(points), -1)
    step = later[index].mean(axis=1) - points
    back, _ = cKDTree(moved).query(later[index[:, 0]], k=neighbours)
    farthest = np.asarray(back).reshape(len(points), -1)[:, -1]
    good = (distance[:, 0] <= farthest) & (distance.mean(axis=1) <= reach * float(np.median(neighbour_spacing(points))))
    if not good.any():
        return np.broadcast_to(drift / gap, points.shape).astype(np.float32)
    if not good.all():
        _, near = cKDTree(points[good]).query(points[~good], k=min(8, int(good.sum())))
        step[~good] = np.median(step[good][np.asarray(near).reshape(int((~good).sum()), -1)], axis=1)
    return (step / gap).astype(np.float32)


def _cloud(capture: Capture, masks: Masks, depth: Depth, index: int, numbers: DepthCloudNumbers) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Points (N, 3) and RGB (N, 3) of what moves at time `index` in all training views, at most `numbers.most`."""
    points: list[NDArray[np.float64]] = [np.zeros((0, 3))]
    colors: list[NDArray[np.float32]] = [np.zeros((0, 3), np.float32)]
    kernel = np.ones((2 * numbers.erode + 1, 2 * numbers.erode + 1), np.uint8)
    for view in np.flatnonzero(capture.train[:, index]):
        known = np.asarray(depth.depth[view][index], np.float64)
        inner = cv2.erode((masks.mask[view][index] > 0).astype(np.uint8), kernel) > 0
        good = inner & np.isfinite(known) & (known > 0)
        world = unproject(np.where(good, known, 1.0), capture.K[view, index], capture.world_to_camera[view, index])
        points.append(world[good])
        colors.append(np.asarray(capture.image(int(view), index))[good].astype(np.float32) / 255)
    for looked_at in (*depth.depth, *masks.mask):
        give_back(looked_at)
    capture.release()
    every, color = np.concatenate(points), np.concatenate(colors)
    chosen = _spread(len(every), numbers.most)
    return every[chosen], color[chosen]


def _spread(count: int, most: int) -> Sequence[int] | NDArray[np.int64]:
    """Indices of at most `most` of `count` things: a fixed random subset, so that no pattern of pixels remains."""
    return np.arange(count) if count <= most else np.sort(np.random.default_rng(count).choice(count, most, replace=False))


def _make(capture: Capture, priors: Priors) -> list[Clouds]:
    return [depth_clouds(capture, priors.require(Masks), priors.require(Depth))]


PROVIDERS = (Provider("depth_clouds", ("clouds",), ("masks", "depth"), 10, lambda _: None, _make),)
