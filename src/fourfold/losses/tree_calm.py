"""Calm motion bases and moderate radii on all levels of a motion tree (spec himor_4dgs360.md section 4). Lengths in extents of the scene."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fourfold.losses.base import Step, mean_of
from fourfold.losses.smoothness import mean_bend
from fourfold.losses.tree_rigidity import trees
from fourfold.scene.tree_levels import level_count, tree_level
from fourfold.scene.tree_nodes import node_spacing


@dataclass(frozen=True)
class TreeAcceleration:
    """`losses.smoothness.BasesAcceleration` of every level's bases, summed over levels; same numbers."""

    translation: float = 2.0
    typical: float = math.inf

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss; 0 without a motion tree of at least three knots."""
        losses = []
        for layer, _ in trees(step):
            if len(layer.fixed["knots"]) < 3:
                continue
            parts = []
            for number in range(level_count(layer)):
                level = tree_level(layer, number)
                turning = mean_bend(level.rotation6d, 2, 1.0, self.typical)
                parts.append(turning + self.translation * mean_bend(level.translation, 2, step.extent, self.typical))
            losses.append(torch.stack(parts).sum())
        return mean_of(losses, step.gaussians[0].means)


@dataclass(frozen=True)
class TreeRadius:
    """Mean square of how much a node's radius exceeds its distance to its three nearest, averaged over levels.

    Attributes:
        nodes: at most this many nodes are looked at in a step.
    """

    nodes: int = 64

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss; 0 without a motion tree."""
        losses = []
        for layer, _ in trees(step):
            for number in range(level_count(layer)):
                level = tree_level(layer, number)
                rows = torch.from_numpy(np.random.default_rng((step.index, number, 34)).permutation(len(level.means))[: self.nodes])
                rows = rows.to(level.means.device, non_blocking=True)
                excess = (level.log_radius[rows].exp() - node_spacing(level.means.detach(), rows=rows)).clamp_min(0) / step.extent
                losses.append(excess.square().mean())
        return mean_of(losses, step.gaussians[0].means)
