"""A motion scaffold: Gaussians carried by the node trajectories around them, each from its own reference time. MoSca (spec mosca.md 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.host import picked
from fourfold.scene.carriers import Followers, carriers, motion_table
from fourfold.scene.motion.bounded import bounded_log_scale
from fourfold.scene.parted import Groups, gaussians_and_places
from fourfold.scene.pose_duals import pose_duals
from fourfold.scene.scaffold_nodes import raw_poses
from fourfold.scene.scene import Layer
from fourfold.scene.skinning import skin_groups


@dataclass(frozen=True)
class Scaffold:
    """x(t) = blend_k w_k T_k(t) T_k(ref)^-1 x(ref) by dual quaternions, over the neighbours of the node a Gaussian is attached to.

    Reads the splats `node` (N,) int64, the node each is attached to, and `anchor` (N,) int64, its reference time; `means` are positions
    at that time. The shared `node_xyz` (K, M, 3) scene units, `node_quat` (K, M, 4) and `radius_logit` (M,) are the nodes at the fixed
    `knots` (K,) seconds; the fixed `anchors` (R,) int64 are the knots that serve as reference times, `near` (M, J) int64 and `near_valid`
    (M, J) bool the topology, `radius_max` () scene units. The splat `skinning` (N, J), where it is there, is added to the weights.

    Attributes:
        largest: bound of standard deviations, scene units, by MoSca's sigmoid activation; 0 is 3DGS's exponential without a bound.
        pull: distant points are held by the world, as far as the weights of their nodes sum to less than one (MoSca's `dyn_o`).
    """

    kind: ClassVar[str] = "scaffold"
    largest: float = 0.0
    pull: bool = True

    def at(self, layer: Layer, times: Tensor) -> list[Gaussians]:
        """Gaussians at each of `times` (Q,), seconds, computed together."""
        return self.at_and_means(layer, times, ())[0]

    def at_and_means(self, layer: Layer, times: Tensor, further: Sequence[Tensor]) -> tuple[list[Gaussians], list[Tensor]]:
        """Gaussians at each of `times` (Q,) and positions (K, N, 3) at each of the `further` times (K,), seconds, computed together."""
        still = layer.canonical()
        still = replace(still, log_scale=bounded_log_scale(still.log_scale, self.largest))
        return gaussians_and_places(partial(self.grouped, layer), still, times, further)

    def means_at(self, layer: Layer, times: Tensor) -> Tensor:
        """Positions (Q, N, 3) alone."""
        return self.moved(layer, times, with_quats=False)[0]

    def moved(self, layer: Layer, times: Tensor, with_quats: bool = True) -> tuple[Tensor, Tensor]:
        """Positions (Q, N, 3) and unit quaternions (Q, N, 4), or (0, N, 4) without, at `times` (Q,), seconds."""
        means, quats = self.grouped(layer, times, Groups((len(times),), (len(times) if with_quats else 0,)))
        return means, quats

    def grouped(self, layer: Layer, times: Tensor, groups: Groups) -> tuple[Tensor, ...]:
        """`moved` in groups of times: positions of every group, then quaternions."""
        then = raw_poses(layer, picked(layer.fixed["knots"], layer.fixed["anchors"]))
        table = motion_table(pose_duals(*raw_poses(layer, times)[::-1]), pose_duals(*then[::-1]))
        rows, weights = carriers_of(layer, then[0], self.pull)
        return skin_groups(table, rows, weights, layer.splats["means"], layer.splats["quat_wxyz"], groups, resting=True)


def carriers_of(layer: Layer, then: Tensor, pull: bool) -> tuple[Tensor, Tensor]:
    """Rows of the motion table and weights of the layer's Gaussians, see `scene.carriers`; `then` (R, M, 3) are its nodes at the reference times."""
    splats, fixed = layer.splats, layer.fixed
    points = Followers(splats["means"], splats["anchor"], splats["node"], then, fixed["near"], fixed["near_valid"])
    return carriers(points, fixed["radius_max"] * torch.sigmoid(layer.shared["radius_logit"]), pull, splats.get("skinning"))
