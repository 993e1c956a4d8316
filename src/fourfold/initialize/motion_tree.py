"""A motion tree's root level, planted in a layer whose Gaussians move on shared SE(3) bases (spec himor_4dgs360.md section 2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.motion_tree import MotionTree
from fourfold.scene.motion.se3_bases import SE3Bases
from fourfold.scene.scene import Layer, Scene
from fourfold.scene.tree_levels import TreeLevel, nearest_nodes
from fourfold.scene.tree_nodes import log_radii, node_neighbours, node_speeds, sparse_rows

SMALLEST_SHARE = 1e-4
"""Of a basis in a node's motion: its logit stays finite."""


@dataclass(frozen=True)
class PlantTree:
    """Gives a layer on shared bases a tree of one level: nodes at Gaussians, with their coefficients, over the same bases.

    Attributes:
        nodes: at quality "normal" and every other (50 released, 70 for iPhone360).
        followed: leaf nodes that carry a Gaussian.
        opaque: fainter Gaussians do not become nodes.
        blended: a node moves as so many of the nearest opaque Gaussians do on average, so that one that was tracked wrongly leads nobody astray
            (released: as the one it came from).
        parity: see `MotionTree`.
    """

    layer: str = "object"
    nodes: int = 50
    followed: int = 3
    opaque: float = 0.3
    blended: int = 16
    parity: bool = False

    def __call__(self, scene: Scene, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The scene with the layer's motion changed, or as it was without such a layer."""
        layers = [
            self.planted(y, random) if y.name == self.layer and isinstance(y.motion, SE3Bases) and len(y) > self.followed else y for y in scene.layers
        ]
        return replace(scene, layers=layers)

    def planted(self, layer: Layer, random: np.random.Generator) -> Layer:
        """`layer` with the tree."""
        means, logits = layer.splats["means"].detach(), layer.splats["motion_logits"].detach()
        rows = torch.nonzero(torch.sigmoid(layer.splats["opacity_logit"].detach()) >= self.opaque).squeeze(1)
        rows = rows if len(rows) > self.followed else torch.arange(len(layer), device=means.device)
        chosen = rows[torch.from_numpy(sparse_rows(means[rows].cpu().numpy(), self.nodes, random)).to(rows.device)]
        nodes = means[chosen].clone()
        level = TreeLevel(
            nodes,
            log_radii(nodes),
            self._shared(means[rows], logits[rows], nodes) if self.blended > 1 and not self.parity else logits[chosen].clone(),
            layer.shared["rotation6d"].detach()[None].clone(),
            layer.shared["translation"].detach()[None].clone(),
            torch.zeros(len(nodes), dtype=torch.int64, device=means.device),
        )
        shared, fixed = level.named(0)
        splats = {name: value for name, value in layer.splats.items() if name != "motion_logits"}
        splats["near"] = nearest_nodes(means, nodes, self.followed)
        kept = {name: value for name, value in layer.shared.items() if name not in ("rotation6d", "translation")}
        tree = replace(layer, motion=MotionTree(self.parity), splats=splats, shared=kept | shared, fixed=layer.fixed | fixed)
        tree.fixed |= {"node_near_0": node_neighbours(tree, 0), "node_speed": node_speeds(tree, 0)}
        return tree

    def _shared(self, means: Tensor, logits: Tensor, nodes: Tensor) -> Tensor:
        """(M, B) logits of the mean shares of the Gaussians around each node."""
        near = nearest_nodes(nodes, means, self.blended)
        return torch.softmax(logits, dim=1)[near].mean(1).clamp_min(SMALLEST_SHARE).log()
