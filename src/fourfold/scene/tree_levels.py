"""Nodes of a motion tree: where each is at any time, and who carries whom. Parameters of a layer, level by level.

Level l of a layer is the shared `node_means_l` (M, 3), `node_log_radius_l` (M,), `node_logits_l` (M, B), `rotation6d_l` (P, B, K, 6) and
`translation_l` (P, B, K, 3), one set of bases for each of the P parents (P = 1 on level 0), and the fixed `node_parent_l` (M,) int64.
Spec himor_4dgs360.md section 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fourfold.geometry.blended_motion import move_by_rotation6d
from fourfold.geometry.interpolation import cubic_matrix
from fourfold.geometry.rotations import quat_conjugate, quat_rotate
from fourfold.scene.between_knots import between_knots
from fourfold.scene.blend import blend
from fourfold.scene.pose_duals import pose_duals
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


@dataclass(frozen=True)
class NodeMotions:
    """Motions of M nodes at Q times from canonical space: x -> R(quat) x + shift; quat (Q, M, 4) of unit length, up to sign, shift (Q, M, 3)."""

    quat: Tensor
    shift: Tensor

    def apply(self, points: Tensor) -> Tensor:
        """(Q, M, 3) where each node takes its own of `points` (M, 3) or (Q, M, 3)."""
        return quat_rotate(self.quat, points) + self.shift

    def undo(self, points: Tensor) -> Tensor:
        """(Q, M, 3) the canonical places of `points` (Q, M, 3)."""
        return quat_rotate(quat_conjugate(self.quat), points - self.shift)

    def of(self, rows: Tensor) -> NodeMotions:
        """Those of some nodes."""
        return NodeMotions(self.quat.index_select(1, rows), self.shift.index_select(1, rows))

    def dual_quats(self) -> Tensor:
        """(Q, M, 8)."""
        return pose_duals(self.quat, self.shift)


def level_count(layer: Layer) -> int:
    """How many levels the layer's tree has; 0 if it has none."""
    count = 0
    while f"node_means_{count}" in layer.shared:
        count += 1
    return count


def tree_level(layer: Layer, number: int) -> TreeLevel:
    """Level `number` of the layer's tree."""
    means, log_radius, logits, rotation6d, translation = (layer.shared[f"{name}_{number}"] for name in LEVEL_NAMES)
    return TreeLevel(means, log_radius, logits, rotation6d, translation, layer.fixed[f"node_parent_{number}"])


def node_motions(layer: Layer, times: Tensor, levels: int | None = None) -> list[NodeMotions]:
    """Per level the motions of its nodes at `times` (Q,), seconds.

    A node's own motion is blended from its parent's bases, 6D rotations first, and comes after the parent's (it stands on the left). A
    root turns about the layer's `pivot`, a child about where its parent is at the time.
    """
    weights = cubic_matrix(layer.fixed["knots"], times)
    result: list[NodeMotions] = []
    for number in range(level_count(layer) if levels is None else levels):
        level = tree_level(layer, number)
        sets, bases = level.rotation6d.shape[:2]
        values = between_knots(weights, level.rotation6d.flatten(0, 1), level.translation.flatten(0, 1))
        if number == 0:
            result.append(_roots(level, values, layer.fixed["pivot"]))
        else:
            above = result[-1]
            centre = above.apply(tree_level(layer, number - 1).means.detach())
            result.append(
                _children(level, values.unflatten(1, (sets, bases)).transpose(0, 1), above.of(level.parent), centre.index_select(1, level.parent))
            )
    return result


def _roots(level: TreeLevel, values: Tensor, pivot: Tensor) -> NodeMotions:
    """Of bases `values` (Q, B, 9) that turn about `pivot` (3,)."""
    origin = torch.zeros_like(level.means)
    still = torch.cat([torch.ones_like(origin[:, :1]), origin], dim=1)
    shift, quat = blend(level.logits, origin, still, values, pivot.to(values), values.shape[0])
    return NodeMotions(quat, shift)


def _children(level: TreeLevel, values: Tensor, above: NodeMotions, centre: Tensor) -> NodeMotions:
    """Of bases `values` (P, Q, B, 9) per parent that turn about `centre` (Q, M, 3), after the motions `above` of each child's parent."""
    times = values.shape[1]
    share = torch.softmax(level.logits, dim=1)
    own = (share[:, None, :, None] * values.index_select(0, level.parent)).sum(2)  # (M, Q, 9)
    flat = own.permute(2, 1, 0).reshape(1, 9, -1)
    offset = (above.shift - centre).permute(2, 0, 1).reshape(3, -1)
    shift, quat = move_by_rotation6d(
        flat[:, :6], flat[:, 6:] + centre.permute(2, 0, 1).reshape(1, 3, -1), offset, above.quat.permute(2, 0, 1).reshape(4, -1)
    )
    return NodeMotions(quat[0].unflatten(1, (times, -1)).permute(1, 2, 0), shift[0].unflatten(1, (times, -1)).permute(1, 2, 0))


def node_paths(layer: Layer, times: Tensor, number: int) -> Tensor:
    """(Q, M, 3) where the nodes of level `number` are at `times` (Q,), seconds."""
    return node_motions(layer, times, number + 1)[-1].apply(tree_level(layer, number).means)


def nearest_nodes(points: Tensor, nodes: Tensor, count: int, chunk: int = 8192) -> Tensor:
    """(N, K) int64 the nodes (M, 3) nearest to each of `points` (N, 3), nearest first; K = min(count, M)."""
    wanted = min(count, len(nodes))
    parts = [torch.cdist(part, nodes).topk(wanted, dim=1, largest=False).indices for part in points.detach().split(chunk)]
    return torch.cat(parts) if parts else torch.zeros(0, wanted, dtype=torch.int64, device=points.device)
