"""Choosing points as nodes of a motion tree, and how far nodes reach (spec himor_4dgs360.md sections 2 and 3)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor


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


def node_spacing(nodes: Tensor, neighbours: int = 3) -> Tensor:
    """(M,) mean distance of each node (M, 3) to its nearest others; 1 for a lonely node. Differentiable."""
    if len(nodes) < 2:
        return torch.ones_like(nodes[:, 0])
    near = torch.cdist(nodes.detach(), nodes.detach()).fill_diagonal_(torch.inf).topk(min(neighbours, len(nodes) - 1), largest=False).indices
    return (nodes[:, None] - nodes[near]).square().sum(-1).clamp_min(1e-24).sqrt().mean(1)


def log_radii(nodes: Tensor, low: float = 0.05, high: float = 0.95) -> Tensor:
    """(M,) logarithms of the nodes' spacing, kept within its quantiles `low` to `high`."""
    spacing = node_spacing(nodes.detach())
    limits = torch.quantile(spacing, spacing.new_tensor([low, high]))
    return spacing.clamp(limits[0], limits[1]).clamp_min(1e-12).log()


def released_log_radii(nodes: Tensor) -> Tensor:
    """(M,) the released children's radii: means of squared distances to three nodes in no order, the node itself among them."""
    squared = torch.cdist(nodes.detach(), nodes.detach()).square()[:, :3].mean(1)
    return squared.clamp_min(1e-12).log()
