"""Shared SE(3) motion bases with a life and velocities for every Gaussian: Shape of Motion's motion, SharpTimeGS's flat-top lifespan.

The shared motion is `se3_bases`' (spec shape_of_motion.md section 1). Beside it a Gaussian has velocities of its own, one until its own moment and
one from then on: who jumps has no single one. The opacity is multiplied by 1 where |t - time_center| <= r and by
exp(-((|t - time_center| - r) / sigma)^2) elsewhere (spec sharptimegs_freetimegs.md B1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.blend import blend_groups
from fourfold.scene.courses import Course, lived
from fourfold.scene.motion.lifespan import lifespan_visibility
from fourfold.scene.motion.se3_bases import SE3Bases, basis_values, with_bases
from fourfold.scene.parted import Groups
from fourfold.scene.scene import Layer

REST = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0)
"""6D rotation and translation of what does not move."""


@dataclass(frozen=True)
class LivedBases(SE3Bases):
    """`SE3Bases` whose Gaussians are fully there within r of their own moment and fade beyond it, each with velocities beside the bases'.

    Reads what `SE3Bases` reads, and the splats `time_center` (N,) seconds, `log_duration` (N,) natural logarithm of sigma in seconds,
    `log_radius` (N,) natural logarithm of r in seconds and `velocity_before`, `velocity_after` (N, 3) scene units per second, world axes, until
    its own moment and from then on. `means` are canonical positions: at its own moment a Gaussian is where the bases bring it.

    Attributes:
        rests: the last basis is no motion, whatever its tensors hold: what is on it alone is moved by its own velocities.
    """

    kind: ClassVar[str] = "lived_bases"
    rests: bool = False

    def at_and_means(self, layer: Layer, times: Tensor, further: Sequence[Tensor]) -> tuple[list[Gaussians], list[Tensor]]:
        """Gaussians at each of `times` (Q,) and positions (K, N, 3) at each of the `further` times (K,), seconds, computed together."""
        splats = layer.splats
        visibility = lifespan_visibility(times[:, None] - splats["time_center"], splats["log_duration"].exp(), splats["log_radius"].exp())
        moved, places = super().at_and_means(layer, times, further)
        return [replace(gaussians, visibility=visibility[q]) for q, gaussians in enumerate(moved)], places

    def grouped(self, layer: Layer, times: Tensor, groups: Groups) -> tuple[Tensor, ...]:
        """Positions (K, N, 3) of every group of `times` (Q,), seconds, then unit quaternions (K, N, 4) of those that turn."""
        splats, values = layer.splats, basis_values(layer, times)
        if self.rests:
            values = torch.cat([values[:, :-1], values.new_tensor(REST).expand(len(times), 1, 9)], dim=1)
        found = blend_groups(splats["motion_logits"], splats["means"], splats["quat_wxyz"], values, layer.fixed["pivot"], groups)
        if "velocity_after" not in splats:  # scene files of earlier versions
            return found
        since = (times[:, None] - splats["time_center"])[..., None]
        apart = zip(found, since.clamp_min(0).split(groups.places), since.clamp_max(0).split(groups.places), strict=False)
        means = [places + splats["velocity_after"] * later + splats["velocity_before"] * earlier for places, later, earlier in apart]
        return *means, *found[len(means) :]

    def course(self, layer: Layer) -> Course:
        """The same in closed form."""
        splats, none = layer.splats, torch.zeros_like(layer.splats["means"])
        velocities = (splats.get("velocity_before", none), splats.get("velocity_after", none))
        course = with_bases(lived(layer, splats["log_radius"].exp(), *velocities), layer)
        if not self.rests or course.table is None:
            return course
        rest = course.table.new_tensor(REST).expand(len(course.table), 1, 9)
        return replace(course, table=torch.cat([course.table[:, :-1], rest], dim=1))
