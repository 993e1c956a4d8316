"""Shared SE(3) motion bases: spec shape_of_motion.md section 1.

The motion of a Gaussian is a blend of a few rigid motions. 6D rotations and translations are blended first; Gram-Schmidt follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.interpolation import cubic_matrix
from fourfold.geometry.rigid import make_rigid
from fourfold.geometry.rotations import rotation6d_to_matrix
from fourfold.scene.between_knots import between_knots
from fourfold.scene.blend import blend_groups
from fourfold.scene.courses import Course
from fourfold.scene.parted import Groups, gaussians_and_places
from fourfold.scene.scene import Layer


@dataclass(frozen=True)
class SE3Bases:
    """B shared rigid motions, blended per Gaussian: x_t = R_t (x - pivot) + pivot + tau_t, rotation R_t R_0.

    Reads the splats `motion_logits` (N, B) (softmax gives the coefficients), the shared `rotation6d` (B, K, 6) and `translation`
    (B, K, 3) scene units at the fixed `knots` (K,) seconds, and the fixed `pivot` (3,), the world point about which the bases turn.
    Between knots 6D rotations and translations are interpolated by cubics, before the first and after the last they stay.
    """

    kind: ClassVar[str] = "se3_bases"

    def at(self, layer: Layer, times: Tensor) -> list[Gaussians]:
        """Gaussians at each of `times` (Q,), seconds, computed together."""
        return self.at_and_means(layer, times, ())[0]

    def at_and_means(self, layer: Layer, times: Tensor, further: Sequence[Tensor]) -> tuple[list[Gaussians], list[Tensor]]:
        """Gaussians at each of `times` (Q,) and positions (K, N, 3) at each of the `further` times (K,), seconds, computed together."""
        return gaussians_and_places(partial(self.grouped, layer), layer.canonical(), times, further)

    def means_at(self, layer: Layer, times: Tensor) -> Tensor:
        """Positions (Q, N, 3) alone, at half the cost."""
        return self.moved(layer, times, with_quats=False)[0]

    def moved(self, layer: Layer, times: Tensor, with_quats: bool = True) -> tuple[Tensor, Tensor]:
        """Positions (Q, N, 3) and unit quaternions (Q, N, 4), or (0, N, 4) without, at `times` (Q,), seconds."""
        means, quats = self.grouped(layer, times, Groups((len(times),), (len(times) if with_quats else 0,)))
        return means, quats

    def grouped(self, layer: Layer, times: Tensor, groups: Groups) -> tuple[Tensor, ...]:
        """`moved` in groups of times: positions of every group, then quaternions."""
        splats = layer.splats
        values = basis_values(layer, times)
        return blend_groups(splats["motion_logits"], splats["means"], splats["quat_wxyz"], values, layer.fixed["pivot"], groups)

    def course(self, layer: Layer) -> Course:
        """The blend, without a lifetime."""
        none, ever = torch.zeros_like(layer.splats["means"]), torch.full_like(layer.splats["means"][:, 0], torch.inf)
        return with_bases(Course(layer.splats["means"], none[:, 0], ever, ever, -ever, ever, none, none), layer)


def with_bases(course: Course, layer: Layer) -> Course:
    """`course` on the shared motions of `layer`."""
    table = torch.cat([layer.shared["rotation6d"], layer.shared["translation"]], dim=-1).transpose(0, 1)
    weights = torch.softmax(layer.splats["motion_logits"], dim=1)
    return replace(course, weights=weights, table=table, knots=layer.fixed["knots"], pivot=layer.fixed["pivot"])


def basis_values(layer: Layer, times: Tensor) -> Tensor:
    """(Q, B, 9) 6D rotation and translation of each basis at `times` (Q,), seconds."""
    return between_knots(cubic_matrix(layer.fixed["knots"], times), layer.shared["rotation6d"], layer.shared["translation"])


def basis_transforms(layer: Layer, times: Tensor) -> Tensor:
    """(Q, B, 4, 4) the rigid motion of the world that each basis stands for at `times` (Q,), seconds."""
    values, pivot = basis_values(layer, times), layer.fixed["pivot"]
    rotation = rotation6d_to_matrix(values[..., :6])
    return make_rigid(rotation, values[..., 6:] + pivot - rotation @ pivot)
