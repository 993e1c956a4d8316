"""Growth on a motion scaffold: of the Gaussians as elsewhere, and of the nodes where Gaussians are pulled. Spec mosca.md section 9, control."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from fourfold.density.adaptive import AdaptiveControl
from fourfold.density.base import Edit, GrowthStatistics, Moment
from fourfold.density.rows import unchanged
from fourfold.geometry.rotations import quat_normalize
from fourfold.scene.motion.scaffold import Scaffold, carriers_of
from fourfold.scene.scaffold_nodes import curve_distance, node_poses, topology_of
from fourfold.scene.scene import Layer


@dataclass(frozen=True)
class ScaffoldControl:
    """Density control of Gaussians, then of nodes; acts on layers that are carried by a scaffold.

    Attributes:
        gaussians: control of the Gaussians; copies stay attached where their source was.
        grow_at, prune_at: fractions of the stage at which nodes are added and removed (MoSca: 4250 and 5250, 4500, 5500 and 6500 of 8000).
        refresh: steps between renewals of the topology.
        pull: Gaussians whose mean screen gradient is beyond this quantile may become nodes (MoSca: beyond 0.03 of the track loss's).
        most: nodes added at a time.
        unused: a node goes if nothing is attached to it and no Gaussian gives it this weight.
        neighbours, reach, rank: of the topology, as at the start.
    """

    gaussians: AdaptiveControl = field(default_factory=AdaptiveControl)
    grow_at: tuple[float, ...] = (0.5, 0.65)
    prune_at: tuple[float, ...] = (0.55, 0.7)
    refresh: int = 100
    pull: float = 0.95
    most: int = 64
    unused: float = 0.02
    neighbours: int = 12
    reach: float = 5.0
    rank: int = 3

    def __call__(self, layer: Layer, statistics: GrowthStatistics, moment: Moment, random: np.random.Generator) -> Edit | None:
        """What to change after this step, or None."""
        if not isinstance(layer.motion, Scaffold):
            return None
        edit = self.gaussians(layer, statistics, moment, random)
        if "skinning" in layer.splats:
            return edit  # whose columns are those of the topology, which stays as it is
        due = {round(at * moment.steps): True for at in self.grow_at} | {round(at * moment.steps): False for at in self.prune_at}
        if moment.step in due:
            base = edit or unchanged(layer)
            return self._grown(layer, statistics, base) if due[moment.step] else self._pruned(layer, base)
        if moment.step % self.refresh == 0 and moment.step > 0:
            return replace(edit or unchanged(layer), fixed=self._topology(layer.shared["node_xyz"].detach(), layer))
        return edit

    def _topology(self, xyz: Tensor, layer: Layer) -> dict[str, Tensor]:
        topology = topology_of(curve_distance(xyz, largest=self.rank), self.neighbours, self.reach * float(layer.fixed["unit"]))
        return {"near": topology.near, "near_valid": topology.valid}

    @torch.no_grad()
    def _grown(self, layer: Layer, statistics: GrowthStatistics, edit: Edit) -> Edit:
        """Trajectories of the Gaussians that are pulled hardest, thinned, become nodes; Gaussians near them are attached anew."""
        signal = statistics.gradient / statistics.count.clamp_min(1)
        if len(signal) == 0 or float(signal.max()) <= 0:
            return edit
        rows = ((signal >= torch.quantile(signal, self.pull)) & (signal > 0)).nonzero()[:, 0]
        rows = rows[signal[rows].argsort(descending=True)][: 8 * self.most]
        picked = replace(layer, splats={name: value.detach()[rows] for name, value in layer.splats.items()})
        means, quats = Scaffold(pull=False).moved(picked, layer.fixed["knots"])
        turn = quat_normalize(quats)
        old, unit = layer.shared["node_xyz"].detach(), float(layer.fixed["unit"])
        new: list[int] = []
        for row in range(len(rows)):
            curves = torch.cat([means[:, row : row + 1], old, means[:, new]], dim=1)
            if (
                len(new) < self.most
                and float(curve_distance(curves, largest=self.rank, others=torch.zeros(1, dtype=torch.int64, device=curves.device))[1:].min()) > unit
            ):
                new.append(row)
        if not new:
            return edit
        xyz = torch.cat([old, means[:, new]], dim=1)
        quat = torch.cat([layer.shared["node_quat"].detach(), aligned_in_time(turn[:, new])], dim=1)
        radius = layer.shared["radius_logit"].detach()
        shared = {"node_xyz": xyz, "node_quat": quat, "radius_logit": torch.cat([radius, radius.median().expand(len(new))])}
        node = nearest_nodes(layer, xyz, edit)
        return replace(edit, changes=edit.changes | {"node": node}, shared=shared, fixed=self._topology(xyz, layer))

    @torch.no_grad()
    def _pruned(self, layer: Layer, edit: Edit) -> Edit:
        """The scaffold without nodes that carry nothing."""
        then = node_poses(layer, layer.fixed["knots"][layer.fixed["anchors"]])[0]
        count = then.shape[1]
        rows, weights = carriers_of(layer, then, pull=False)
        heaviest = weights.new_zeros(count).scatter_reduce(0, (rows % count).flatten(), weights.detach().flatten(), "amax")
        keep = heaviest >= self.unused
        keep[layer.splats["node"]] = True
        if bool(keep.all()) or int(keep.sum()) < 4:
            return edit
        shared = {name: layer.shared[name].detach()[:, keep] for name in ("node_xyz", "node_quat")}
        shared["radius_logit"] = layer.shared["radius_logit"].detach()[keep]
        number = torch.cumsum(keep, 0) - 1
        node = number[layer.splats["node"][edit.source]]
        return replace(edit, changes=edit.changes | {"node": node}, shared=shared, fixed=self._topology(shared["node_xyz"], layer))


def nearest_nodes(layer: Layer, xyz: Tensor, edit: Edit) -> Tensor:
    """(N,) the nearest of nodes `xyz` (K, M, 3) at the reference time of each row that `edit` leaves."""
    means = edit.changes.get("means", layer.splats["means"].detach()[edit.source])
    anchor = layer.splats["anchor"][edit.source]
    then = xyz[(layer.fixed["knots"][:, None] - layer.fixed["knots"][layer.fixed["anchors"]][None]).abs().argmin(0)]
    node = torch.zeros_like(anchor)
    for number in range(len(then)):
        rows = (anchor == number).nonzero()[:, 0]
        if len(rows):
            node[rows] = torch.cdist(means[rows], then[number]).argmin(1)
    return node


def aligned_in_time(quat: Tensor) -> Tensor:
    """(K, M, 4) the same rotations, each in the half space of the one before: interpolation between knots must not pass through zero."""
    sign = torch.where((quat[1:] * quat[:-1]).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    return torch.cat([quat[:1], quat[1:] * torch.cumprod(sign, 0)])
