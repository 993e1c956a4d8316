"""A tree of nodes whose motions are blended from shared bases: HiMoR's hierarchical motion (spec himor_4dgs360.md section 1).

Each Gaussian follows the leaf nodes around it; a leaf's motion is its parent's, followed by a small one of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.leaf_weights import leaf_weights
from fourfold.scene.parted import Groups, gaussians_and_places
from fourfold.scene.scene import Layer
from fourfold.scene.skinning import blend_nodes, skin_groups
from fourfold.scene.tree_levels import level_count, node_motions, tree_level


@dataclass(frozen=True)
class MotionTree:
    """Gaussians skinned to the leaves of a motion tree by dual quaternions.

    Reads the splat `near` (N, K) int64, the leaf nodes of each Gaussian, nearest first, the tree's levels (`scene.tree_levels`), the fixed
    `knots` (K,) seconds and the fixed `pivot` (3,), about which the root's bases turn.

    Attributes:
        parity: True computes as the released code does: the softmax of radial functions of the squared distance's square, and no
            alignment of antipodal quaternions (spec himor_4dgs360.md section 7). Losses and node control read it too.
    """

    kind: ClassVar[str] = "motion_tree"
    parity: bool = False

    def at(self, layer: Layer, times: Tensor) -> list[Gaussians]:
        """Gaussians at each of `times` (Q,), seconds, computed together."""
        return self.at_and_means(layer, times, ())[0]

    def at_and_means(self, layer: Layer, times: Tensor, further: Sequence[Tensor]) -> tuple[list[Gaussians], list[Tensor]]:
        """Gaussians at each of `times` (Q,) and positions (K, N, 3) at each of the `further` times (K,), seconds, computed together."""
        return gaussians_and_places(partial(self.grouped, layer), layer.canonical(), times, further)

    def means_at(self, layer: Layer, times: Tensor) -> Tensor:
        """Positions (Q, N, 3) alone."""
        return self.moved(layer, times, with_quats=False)[0]

    def moved(self, layer: Layer, times: Tensor, with_quats: bool = True) -> tuple[Tensor, Tensor]:
        """Positions (Q, N, 3) and unit quaternions (Q, N, 4), or (0, N, 4) without, at `times` (Q,), seconds."""
        means, quats = self.grouped(layer, times, Groups((len(times),), (len(times) if with_quats else 0,)))
        return means, quats

    def grouped(self, layer: Layer, times: Tensor, groups: Groups) -> tuple[Tensor, ...]:
        """`moved` in groups of times: positions of every group, then quaternions."""
        splats, weights = layer.splats, self.weights(layer)
        leaves = node_motions(layer, times)[-1].dual_quats()
        return skin_groups(leaves, splats["near"], weights, splats["means"], splats["quat_wxyz"], groups, align=not self.parity)

    def motions(self, layer: Layer, times: Tensor) -> Tensor:
        """(Q, N, 8) blended dual quaternions, not yet normalised, of the Gaussians at `times` (Q,), seconds."""
        return blend_nodes(node_motions(layer, times)[-1].dual_quats(), layer.splats["near"], self.weights(layer), align=not self.parity)

    def weights(self, layer: Layer) -> Tensor:
        """(N, K) how much each Gaussian follows each of its leaf nodes."""
        leaf = tree_level(layer, level_count(layer) - 1)
        return leaf_weights(layer.splats["means"].detach(), leaf.means, leaf.log_radius, layer.splats["near"], self.parity)
