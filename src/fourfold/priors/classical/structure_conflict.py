"""A coherent cluster of points at a contradictory depth: something moving that structure from motion took for a part of the scene.

An object carried along with the camera is reconstructed too near: it then floats, far in front of the very ground it stands on. The
unmasked duck clip of spec calibration.md section E is the case: all frames placed, a small reprojection error, and wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Delaunay, QhullError
from scipy.stats import spearmanr

from fourfold.priors.classical.camera_checks import point_depths
from fourfold.priors.classical.sfm import Structure


@dataclass(frozen=True)
class ConflictConfig:
    """When a cluster contradicts its surroundings; lengths are shares of the image size.

    Attributes:
        frames: most frames looked at.
        same_depth: neighbouring points belong together if their depths differ by at most this share.
        reach: longest edge between neighbouring points, share of the image width.
        least: smallest cluster, share of a frame's points.
        floor: a cluster that comes nearer to the lower image border than this share of the height may stand on something not seen.
        below: how far below the cluster its ground is sought, share of the height.
        floating: the ground must be this many times as deep as the cluster for a contradiction.
        upside_down: rank correlation between height in the image and nearness below which the ground lies behind what stands on it.
        lasting: share of the looked-at frames in which a point must be in such a cluster.
    """

    frames: int = 12
    same_depth: float = 0.12
    reach: float = 0.15
    least: float = 0.02
    floor: float = 0.05
    below: float = 0.4
    floating: float = 1.5
    upside_down: float = -0.15
    lasting: float = 0.5


def contradictory_points(structure: Structure, width: int, height: int, config: ConflictConfig = ConflictConfig()) -> NDArray[np.bool_]:
    """(P,) points in clusters that float far in front of what lies directly below them, in most of the frames that see them."""
    flagged, asked = (np.zeros(len(structure.points)) for _ in range(2))
    depths = point_depths(structure) if len(structure.points) else np.zeros(0)
    images = np.flatnonzero(structure.registered)
    for image in images[np.unique(np.linspace(0, len(images) - 1, min(len(images), config.frames)).astype(int))] if len(images) else images:
        rows = np.flatnonzero(structure.observation_image == image)
        floating = _floating(structure.observation_xy[rows].astype(np.float64), depths[rows], width, height, config)
        np.add.at(asked, structure.observation_point[rows], 1)
        np.add.at(flagged, structure.observation_point[rows], floating)
    return (asked > 0) & (flagged > config.lasting * asked)


def ground_order(structure: Structure) -> float:
    """Median over the images of the rank correlation of image y and inverse depth: positive where the ground is nearer than the walls."""
    depths = point_depths(structure) if len(structure.points) else np.zeros(0)
    found = []
    for image in np.flatnonzero(structure.registered):
        rows = structure.observation_image == image
        if rows.sum() >= 30:
            found.append(spearmanr(structure.observation_xy[rows, 1], -depths[rows]).statistic)
    return float(np.median(found)) if found else 0.0


def contradiction_sentence(structure: Structure, points: NDArray[np.bool_]) -> tuple[str, ...]:
    """What to say about contradictory points; nothing without any."""
    if not points.any():
        return ()
    near = np.median(point_depths(structure)[points[structure.observation_point]])
    rest = np.median(point_depths(structure)[~points[structure.observation_point]])
    return (
        f"check: a cluster of {int(points.sum())} points ({points.mean():.0%}) floats at depth {near:.1f} before a scene at {rest:.1f} with its "
        "ground behind it, as something that moves would",
    )


def _floating(xy: NDArray[np.float64], depth: NDArray[np.float64], width: int, height: int, config: ConflictConfig) -> NDArray[np.bool_]:
    """(M,) which points of one frame lie in a floating cluster."""
    result = np.zeros(len(xy), bool)
    if len(xy) < 30:
        return result
    labels = _clusters(xy, depth, width, config)
    for label in np.flatnonzero(np.bincount(labels) >= max(10, config.least * len(xy))):
        mine = labels == label
        left, right = np.percentile(xy[mine, 0], [10, 90])
        bottom = np.percentile(xy[mine, 1], 97)
        if mine.mean() > 0.5 or bottom > (1 - config.floor) * height:
            continue
        ground = ~mine & (xy[:, 0] > left) & (xy[:, 0] < right) & (xy[:, 1] > bottom) & (xy[:, 1] < bottom + config.below * height)
        if ground.sum() >= 4 and np.median(depth[ground]) > config.floating * np.median(depth[mine]):
            result |= mine
    return result


def _clusters(xy: NDArray[np.float64], depth: NDArray[np.float64], width: int, config: ConflictConfig) -> NDArray[np.int32]:
    """(M,) labels: neighbours in the image at similar depth, connected."""
    try:
        triangles = Delaunay(xy, qhull_options="QJ").simplices
    except QhullError:
        return np.zeros(len(xy), np.int32)
    edges = np.unique(np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1), axis=0)
    a, b = edges.T
    ratio = np.abs(np.log(np.maximum(depth[a], 1e-9) / np.maximum(depth[b], 1e-9)))
    kept = (ratio < config.same_depth) & (np.linalg.norm(xy[a] - xy[b], axis=1) < config.reach * width)
    graph = coo_matrix((np.ones(kept.sum()), (a[kept], b[kept])), shape=(len(xy), len(xy)))
    return connected_components(graph, directed=False)[1]
