"""Nodes of a motion tree: where each is at any time, and who carries whom. Parameters of a layer, level by level.

Level l of a layer is the shared `node_means_l` (M, 3), `node_log_radius_l` (M,), `node_logits_l` (M, B), `rotation6d_l` (P, B, K, 6) and
`translation_l` (P, B, K, 3), one set of bases for each of the P parents (P = 1 on level 0), and the fixed `node_parent_l` (M,) int64.
Spec himor_4dgs360.md section 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fourfold.geometry.interpolation import cubic_matrix
from fourfold.geometry.rigid import apply_rigid, make_rigid
from fourfold.geometry.rotations import rotation6d_to_matrix
from fourfold.scene.scene import Layer

LEVEL_NAMES = ("node_means", "node_log_radius", "node_logits", "rotation6d", "translation")


@dataclass(frozen=True)
class TreeLevel:
    """One level's parameters, see the file."""

    means: Tensor
    log_radius: Tensor
    logits: Tensor
    rotation6d: Tensor
    translation: Tensor
    parent: Tensor

    def named(self, number: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What a layer keeps of it as level `number`: shared and fixed tensors."""
        values = (self.means, self.log_radius, self.logits, self.rotation6d, self.translation)
        shared = {f"{name}_{number}": value for name, value in zip(LEVEL_NAMES, values, strict=True)}
        return shared, {f"node_parent_{number}": self.parent}


def level_count(layer: Layer) -> int:
    """How many levels the layer's tree has; 0 if it has none."""
    count = 0
    while f"node_means_{count}" in layer.shared:
        count += 1
    return count


def tree_level(layer: Layer, number: int) -> TreeLevel:
    """Level `number` of the layer's tree."""
    return TreeLevel(*(layer.shared[f"{name}_{number}"] for name in LEVEL_NAMES), layer.fixed[f"node_parent_{number}"])


def node_motions(layer: Layer, times: Tensor, levels: int | None = None) -> list[Tensor]:
    """Per level (Q, M, 4, 4): the motion from canonical space to each of `times` (Q,), seconds, of each node.

    A node's own motion is blended from its parent's bases, 6D rotations first, and comes after the parent's (it stands on the left). A
    root turns about the layer's `pivot`, a child about where its parent is at the time.
    """
    knots, pivot = layer.fixed["knots"], layer.fixed["pivot"]
    weights = cubic_matrix(knots, times)
    result: list[Tensor] = []
    for number in range(level_count(layer) if levels is None else levels):
        level = tree_level(layer, number)
        values = torch.cat([level.rotation6d, level.translation], dim=-1)
        values = torch.einsum("qk,pbkc->qpbc", weights.to(values.dtype), values)
        share = torch.softmax(level.logits, dim=1)
        if number == 0:
            own = torch.einsum("mb,qbc->qmc", share, values[:, 0])
            centre = pivot.to(values)
            result.append(_about(own, centre))
        else:
            own = (share[..., None] * values.index_select(1, level.parent)).sum(2)
            centre = apply_rigid(result[-1], tree_level(layer, number - 1).means.detach())
            result.append(_about(own, centre.index_select(1, level.parent)) @ result[-1].index_select(1, level.parent))
    return result


def node_paths(layer: Layer, times: Tensor, number: int) -> Tensor:
    """(Q, M, 3) where the nodes of level `number` are at `times` (Q,), seconds."""
    return apply_rigid(node_motions(layer, times, number + 1)[-1], tree_level(layer, number).means)


def _about(values: Tensor, centre: Tensor) -> Tensor:
    """(..., 4, 4) rotation by the 6D part of `values` (..., 9) about `centre` (..., 3) or (3,), then translation by the rest."""
    rotation = rotation6d_to_matrix(values[..., :6])
    turned = (rotation @ centre[..., None]).squeeze(-1)
    return make_rigid(rotation, values[..., 6:] + centre - turned)


def nearest_nodes(points: Tensor, nodes: Tensor, count: int, chunk: int = 8192) -> Tensor:
    """(N, K) int64 the nodes (M, 3) nearest to each of `points` (N, 3), nearest first; K = min(count, M)."""
    wanted = min(count, len(nodes))
    parts = [torch.cdist(part, nodes).topk(wanted, dim=1, largest=False).indices for part in points.detach().split(chunk)]
    return torch.cat(parts) if parts else torch.zeros(0, wanted, dtype=torch.int64, device=points.device)
