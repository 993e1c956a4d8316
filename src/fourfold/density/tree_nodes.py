"""Growth of a motion tree: nodes where Gaussians are far from any, nodes where images pull, culling, a second level, renewed attachment.

Source: spec himor_4dgs360.md section 3; its steps are told here as fractions of the stage.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from fourfold.density.base import DensityControl, Edit, GrowthStatistics, Moment
from fourfold.density.rows import unchanged
from fourfold.density.tree_deepening import DeepenNumbers, deepened
from fourfold.scene.leaf_weights import leaf_weights
from fourfold.scene.motion.motion_tree import MotionTree
from fourfold.scene.scene import Layer
from fourfold.scene.tree_levels import TreeLevel, level_count, nearest_nodes, node_paths, tree_level
from fourfold.scene.tree_nodes import node_neighbours, node_speeds, some_knots, sparse_rows


@dataclass(frozen=True)
class TreeControl:
    """Density control of Gaussians, then of nodes; acts on layers that are carried by a motion tree.

    Attributes:
        gaussians: control of the Gaussians, or None for none; copies stay attached where their source was until the next renewal.
        from_gaussians: fractions of the stage at which nodes are added to where Gaussians are far from any (released: four times, .06 to .12;
            here all of it comes earlier, so that a second level has steps enough in a stage of some thousand).
        from_gradients: the same for where images pull (.28 and .32); cull_and_deepen: when the second level comes (.4), beyond 1 for never.
        added: nodes per addition; far: quantile of the distance to nodes from which a Gaussian may become one.
        pull: mean screen gradient, per half image, of a node's Gaussians from which it gets a neighbour.
        fewest: a root node with fewer Gaussians within its radius goes before the second level comes (30 of some 100 000 released).
        renew: steps between renewals of who follows whom.
        moments: times at which paths are compared.
    """

    gaussians: DensityControl | None = None
    from_gaussians: tuple[float, ...] = (0.03, 0.05, 0.07)
    from_gradients: tuple[float, ...] = (0.1,)
    cull_and_deepen: float = 0.15
    added: int = 20
    far: float = 0.9
    pull: float = 8.5e-5
    fewest: int = 5
    renew: int = 100
    moments: int = 8
    deepen: DeepenNumbers = field(default_factory=DeepenNumbers)

    def __call__(self, layer: Layer, statistics: GrowthStatistics, moment: Moment, random: np.random.Generator) -> Edit | None:
        """What to change after this step, or None."""
        if not isinstance(layer.motion, MotionTree) or len(layer) == 0:
            return None
        edit = self.gaussians(layer, statistics, moment, random) if self.gaussians is not None else None
        step, steps = moment.step, moment.steps
        shared: dict[str, Tensor] = {}
        fixed: dict[str, Tensor] = {}
        with torch.no_grad():
            if level_count(layer) == 1:
                if any(step == round(at * steps) for at in self.from_gaussians):
                    shared, fixed = self._from_gaussians(layer, random).named(0)
                elif any(step == round(at * steps) for at in self.from_gradients):
                    shared, fixed = self._from_gradients(layer, statistics).named(0)
                elif step == round(self.cull_and_deepen * steps):
                    shared, fixed = deepened(layer, self._culled(layer), self.deepen, random)
            if not shared and edit is None and (step == 0 or step % self.renew):
                return None
            return attached(layer, replace(edit or unchanged(layer), shared=shared, fixed=fixed))

    def _from_gaussians(self, layer: Layer, random: np.random.Generator) -> TreeLevel:
        level, every = tree_level(layer, 0), slice(None, None, 10 if len(layer) > 2000 else 1)
        points = layer.splats["means"][every]
        near = nearest_nodes(points, level.means, 3)
        times = some_knots(layer, self.moments)
        paths = layer.means_at(times)[:, every]
        nodes = node_paths(layer, times, 0)
        gap = (paths[:, :, None] - nodes[:, near]).norm(dim=-1).amax(0).amin(1)
        candidate = torch.nonzero(gap >= torch.quantile(gap, self.far)).squeeze(1)
        chosen = candidate[torch.from_numpy(sparse_rows(points[candidate].cpu().numpy(), self.added, random)).to(candidate.device)]
        weight = leaf_weights(points[chosen], level.means, level.log_radius, near[chosen])
        logits = (weight[..., None] * level.logits[near[chosen]]).sum(1)
        return _joined(level, points[chosen], level.log_radius.mean().expand(len(chosen)), logits)

    def _from_gradients(self, layer: Layer, statistics: GrowthStatistics) -> TreeLevel:
        level, near = tree_level(layer, 0), layer.splats["near"]
        points = layer.splats["means"]
        reach = (points[:, None] - level.means[near]).square().sum(-1) / (2 * (2 * level.log_radius[near]).exp())
        weight = torch.exp(-reach)
        pulled = (statistics.gradient / statistics.count.clamp_min(1)).to(weight)
        total = weight.new_zeros(len(level.means)).index_add(0, near.flatten(), weight.flatten())
        force = weight.new_zeros(len(level.means)).index_add(0, near.flatten(), (weight * pulled[:, None]).flatten())
        share = (weight * pulled[:, None]).flatten()
        place = torch.zeros_like(level.means).index_add(0, near.flatten(), share[:, None] * points.repeat_interleave(near.shape[1], 0))
        place = place / force.clamp_min(1e-12)[:, None]
        grow = torch.nonzero((force / total.clamp_min(1e-12) > self.pull) & (total > 0)).squeeze(1)[: self.added]
        grown = _joined(level, place[grow], level.log_radius[grow], level.logits[grow])
        used = torch.cat([total > 0, torch.ones_like(grow, dtype=torch.bool)])
        return _rows(grown, used) if int(used.sum()) > near.shape[1] else grown

    def _culled(self, layer: Layer) -> TreeLevel:
        level = tree_level(layer, 0)
        inside = torch.cdist(layer.splats["means"], level.means) < level.log_radius.exp()
        stay = inside.sum(0) >= self.fewest
        return _rows(level, stay) if int(stay.sum()) > layer.splats["near"].shape[1] else level


@torch.no_grad()
def attached(layer: Layer, edit: Edit) -> Edit:
    """`edit` with who follows whom, and which nodes are neighbours, renewed as they are after the edit."""
    means = edit.changes.get("means", layer.splats["means"].detach()[edit.source])
    tree = replace(layer, shared=layer.shared | edit.shared, fixed=layer.fixed | edit.fixed)
    leaf = level_count(tree) - 1
    near = nearest_nodes(means, tree_level(tree, leaf).means.detach(), layer.splats["near"].shape[1])
    neighbours = {f"node_near_{number}": node_neighbours(tree, number) for number in range(leaf + 1)}
    return replace(edit, changes=edit.changes | {"near": near}, fixed=edit.fixed | neighbours | {"node_speed": node_speeds(tree, leaf)})


def _joined(level: TreeLevel, means: Tensor, log_radius: Tensor, logits: Tensor) -> TreeLevel:
    """`level` with more nodes of the root."""
    return replace(
        level,
        means=torch.cat([level.means, means]),
        log_radius=torch.cat([level.log_radius, log_radius]),
        logits=torch.cat([level.logits, logits]),
        parent=torch.cat([level.parent, level.parent.new_zeros(len(means))]),
    )


def _rows(level: TreeLevel, stay: Tensor) -> TreeLevel:
    """`level` with the nodes that `stay`."""
    return replace(level, **{name: getattr(level, name)[stay] for name in ("means", "log_radius", "logits", "parent")})


__all__ = ["TreeControl", "attached"]
