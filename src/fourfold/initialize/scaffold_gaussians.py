"""Gaussians of a motion scaffold: from moving pixels of all cameras and moments and from observed curves. Spec mosca.md section 8."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.geometry.spacing import neighbour_spacing
from fourfold.initialize.frames import read_frame, unproject_pixels
from fourfold.initialize.scaffold_curves import Curves
from fourfold.initialize.scaffold_nodes import Nodes
from fourfold.initialize.splats import make_splats
from fourfold.priors.contracts import Priors


@dataclass(frozen=True)
class SeedNumbers:
    """Numbers of the dynamic Gaussians.

    Attributes:
        count: at quality "normal" (MoSca: 30 000).
        anchors: moments, evenly spread, that serve as reference times and from whose images pixels are taken.
        curve_share: share of the Gaussians that come from observed curves, where there are so many.
        confident: confidence from which a moving pixel's depth is taken.
        corrected: a pixel's depth is scaled like that of so many nearest observed curves in its image; 0 takes the depth as it is.
        reach: pixels farther than so many units from every node are not believed.
        opacity: at the start; spacing_share: standard deviation as a share of the distance to the nearest three neighbours.
    """

    count: int = 14_000
    anchors: int = 12
    curve_share: float = 0.25
    confident: float = 0.2
    corrected: int = 6
    reach: float = 5.0
    opacity: float = 0.5
    spacing_share: float = 0.7


@dataclass(frozen=True)
class _Seeds:
    """Points (P, 3) with color (P, 3), their anchor (P,) and the width of a pixel there (P,)."""

    points: NDArray[np.float64]
    color: NDArray[np.float32]
    anchor: NDArray[np.int64]
    footprint: NDArray[np.float64]


def scaffold_gaussians(
    capture: Capture,
    priors: Priors,
    curves: Curves,
    nodes: Nodes,
    indices: NDArray[np.int64],
    count: int,
    random: np.random.Generator,
    numbers: SeedNumbers,
) -> tuple[dict[str, Tensor], Tensor]:
    """Splats of the dynamic layer, with `node` and `anchor`, and (R,) int64 the knots that are anchors.

    Args:
        indices: (K,) time index of every knot.
    """
    anchors = np.unique(np.linspace(0, len(indices) - 1, min(numbers.anchors, len(indices))).round().astype(np.int64))
    parts = [_from_curves(curves, anchors, round(count * numbers.curve_share), random)]
    frames = [(view, k) for k in anchors for view in range(capture.views) if capture.train[view, indices[k]]]
    each = -(-(count - len(parts[0].points)) // max(len(frames), 1))
    for view, knot in frames:
        parts.append(_from_pixels(capture, priors, curves, (view, int(indices[knot]), int(knot)), each, random, numbers))
        parts[-1].anchor[:] = np.searchsorted(anchors, knot)
    seeds = _Seeds(*(np.concatenate([getattr(part, key) for part in parts]) for key in ("points", "color", "anchor", "footprint")))
    node, distance = attached(seeds.points, seeds.anchor, nodes, anchors)
    keep = distance < numbers.reach * nodes.unit
    seeds = _Seeds(seeds.points[keep], seeds.color[keep], seeds.anchor[keep], seeds.footprint[keep])
    spacing = _spacing(seeds, len(anchors))
    splats = make_splats(seeds.points, seeds.color, np.maximum(spacing * numbers.spacing_share, 0.3 * seeds.footprint), numbers.opacity)
    splats |= {"node": torch.from_numpy(node[keep]), "anchor": torch.from_numpy(seeds.anchor)}
    return splats, torch.from_numpy(anchors)


def attached(
    points: NDArray[np.float64], anchor: NDArray[np.int64], nodes: Nodes, anchors: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(P,) nearest node of each point at its reference time, and (P,) the distance to it."""
    node, distance = np.zeros(len(points), np.int64), np.zeros(len(points))
    for number, knot in enumerate(anchors):
        rows = np.flatnonzero(anchor == number)
        if len(rows):
            distance[rows], node[rows] = cKDTree(nodes.xyz[int(knot)].double().numpy()).query(points[rows])
    return node, distance


def _from_curves(curves: Curves, anchors: NDArray[np.int64], most: int, random: np.random.Generator) -> _Seeds:
    """Observed positions at the anchors: up to `most` of them, each curve at one of its observed moments."""
    rows, columns = np.nonzero(curves.certain[:, anchors])
    order = random.permutation(len(rows))
    _, once = np.unique(rows[order], return_index=True)  # a curve would lie on itself at its other moments
    chosen = order[once]
    chosen = chosen if len(chosen) <= most else np.sort(random.choice(chosen, most, replace=False))
    rows, columns = rows[chosen], columns[chosen]
    return _Seeds(curves.xyz[rows, anchors[columns]], curves.color[rows], columns.astype(np.int64), np.zeros(len(rows)))


def _from_pixels(
    capture: Capture, priors: Priors, curves: Curves, where: tuple[int, int, int], most: int, random: np.random.Generator, numbers: SeedNumbers
) -> _Seeds:
    """Moving pixels of one image (view, time index, knot) at their prior depth, corrected by the curves observed then."""
    view, index, knot = where
    frame = read_frame(capture, priors, view, index)
    row, column = np.nonzero(frame.moving & (frame.depth > 0) & (frame.confidence >= numbers.confident))
    pick = random.choice(len(row), min(most, len(row)), replace=False)
    row, column = row[pick], column[pick]
    depth = frame.depth[row, column].astype(np.float64)
    xy = np.stack([column + 0.5, row + 0.5], axis=1)
    if numbers.corrected:
        depth = depth * _ratio(xy, curves.xyz[curves.certain[:, knot], knot], frame.depth, frame.K, frame.world_to_camera, numbers.corrected)
    points = unproject_pixels(frame.K, frame.world_to_camera, xy, depth)
    return _Seeds(points, frame.color[row, column], np.zeros(len(row), np.int64), depth / frame.K[0, 0])


def _ratio(
    xy: NDArray[np.float64],
    known: NDArray[np.float64],
    depth: NDArray[np.float32],
    K: NDArray[np.float64],
    pose: NDArray[np.float64],
    neighbours: int,
) -> NDArray[np.float64]:
    """(P,) by how much the depth (H, W) around pixels `xy` (P, 2) must be scaled to agree with `known` world points (Q, 3); 1 without evidence.

    The median over the nearest known points of the image whose depth is within a quarter of the prior's: others are hidden in this view.
    """
    local = known @ pose[:3, :3].T + pose[:3, 3]
    local = local[local[:, 2] > 1e-9]
    pixel = (local @ K.T)[:, :2] / local[:, 2:]
    height, width = depth.shape
    column, row = np.clip(np.floor(pixel).astype(int), 0, [width - 1, height - 1]).T
    prior = depth[row, column]
    ratio = local[:, 2] / np.maximum(prior, 1e-12)
    good = (prior > 0) & (np.abs(np.log(ratio)) < 0.25) & (pixel >= 0).all(axis=1) & (pixel < [width, height]).all(axis=1)
    if good.sum() < neighbours:
        return np.ones(len(xy))
    index = cKDTree(pixel[good]).query(xy, k=neighbours)[1].reshape(len(xy), neighbours)
    return np.median(ratio[good][index], axis=1)


def _spacing(seeds: _Seeds, anchors: int) -> NDArray[np.float64]:
    """(P,) distance to the neighbours of the same moment, brought to the density of all moments together, extremes cut."""
    spacing = np.ones(len(seeds.points))
    for number in range(anchors):
        rows = np.flatnonzero(seeds.anchor == number)
        if len(rows):
            spacing[rows] = neighbour_spacing(seeds.points[rows])
    moments = max(1, len(np.unique(seeds.anchor)))
    spacing /= np.sqrt(moments)  # surfaces: the same area is covered once by every moment
    low, high = np.quantile(spacing, (0.05, 0.9)) if len(spacing) else (0.0, 0.0)
    return np.clip(spacing, low, high)
