"""Choosing points as nodes of a motion tree, and how far nodes reach (spec himor_4dgs360.md sections 2 and 3)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from fourfold.scene.scene import Layer
from fourfold.scene.tree_levels import node_paths


def sparse_rows(points: NDArray[np.floating], count: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Rows of `points` (N, 3) drawn without replacement, with chance exp(-n): n others lie closer than the mean 3-neighbour distance.

    Sparse areas are favoured, so that nodes spread over the object instead of crowding where the points do.
    """
    count = min(count, len(points))
    if count == 0 or len(points) < 2:
        return np.arange(count)
    tree = cKDTree(points)
    reach = float(tree.query(points, k=min(4, len(points)))[0][:, 1:].mean())
    crowd = np.array([len(found) - 1 for found in tree.query_ball_point(points, max(reach, 1e-12))], np.float64)
    chance = np.exp(-(crowd - crowd.min())) + 1e-12
    return np.sort(random.choice(len(points), count, replace=False, p=chance / chance.sum()))


def node_spacing(nodes: Tensor, neighbours: int = 3, rows: Tensor | None = None) -> Tensor:
    """(M,) mean distance of each node (M, 3), or of those in `rows`, to its nearest others; 1 for a lonely node."""
    if len(nodes) < 2:
        return torch.ones_like(nodes[:, 0])
    some = nodes if rows is None else nodes[rows]
    nearest = torch.cdist(some, nodes).topk(min(neighbours, len(nodes) - 1) + 1, largest=False).values
    return nearest[:, 1:].mean(1)


def log_radii(nodes: Tensor, low: float = 0.05, high: float = 0.95) -> Tensor:
    """(M,) logarithms of the nodes' spacing, kept within its quantiles `low` to `high` and above a thousandth of its mean.

    Copies of a Gaussian may lie at one place, and nodes with them: a radius of nothing has no gradient.
    """
    spacing = node_spacing(nodes.detach())
    limits = torch.quantile(spacing, spacing.new_tensor([low, high]))
    return spacing.clamp(limits[0], limits[1]).clamp_min(max(1e-3 * float(spacing.mean()), 1e-12)).log()


def released_log_radii(nodes: Tensor) -> Tensor:
    """(M,) the released children's radii: means of squared distances to three nodes in no order, the node itself among them."""
    squared = torch.cdist(nodes.detach(), nodes.detach()).square()[:, :3].mean(1)
    return squared.clamp_min(1e-12).log()


@torch.no_grad()
def node_neighbours(layer: Layer, number: int, count: int = 10, moments: int = 12) -> Tensor:
    """(M, J) int64 for each node of level `number` those that stay nearest over the clip: by the largest distance over `moments` knots."""
    paths = node_paths(layer, some_knots(layer, moments), number)
    apart = torch.cdist(paths, paths).amax(0).fill_diagonal_(torch.inf)
    return apart.topk(min(count, len(apart) - 1), dim=1, largest=False).indices


@torch.no_grad()
def node_speeds(layer: Layer, number: int, moments: int = 12) -> Tensor:
    """(S, M) lengths of the steps of the nodes of level `number` between `moments` knots."""
    return node_paths(layer, some_knots(layer, moments), number).diff(dim=0).norm(dim=-1)


def some_knots(layer: Layer, count: int) -> Tensor:
    """At most `count` of the layer's knots, evenly, with both ends."""
    knots = layer.fixed["knots"]
    return knots[torch.linspace(0, len(knots) - 1, min(count, len(knots)), device=knots.device).round().long()]
