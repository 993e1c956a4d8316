"""Shared SE(3) motion bases with a life and a velocity for every Gaussian: Shape of Motion's motion, SharpTimeGS's flat-top lifespan.

The shared motion is `se3_bases`' (spec shape_of_motion.md section 1). What it misses at a Gaussian's own moment is the Gaussian's own velocity,
divided by f(sigma, r) = max(1, ((sigma + r) / unit)^2): the longer it lives, the less it leaves what it shares with its neighbours. The opacity
is multiplied by 1 where |t - time_center| <= r and by exp(-((|t - time_center| - r) / sigma)^2) elsewhere (spec sharptimegs_freetimegs.md B1, B2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.motion.lifespan import lifespan_visibility, motion_divisor
from fourfold.scene.motion.se3_bases import SE3Bases
from fourfold.scene.scene import Layer


@dataclass(frozen=True)
class LivedBases(SE3Bases):
    """`SE3Bases` whose Gaussians are fully there within r of their own moment and fade beyond it, each with a velocity beside the bases'.

    Reads what `SE3Bases` reads, and the splats `time_center` (N,) seconds, `log_duration` (N,) natural logarithm of sigma in seconds,
    `log_radius` (N,) natural logarithm of r in seconds and `velocity` (N, 3) scene units per second, in world axes. `means` are canonical
    positions without the velocity's share: at its own moment a Gaussian is where the bases bring it.

    Attributes:
        unit: seconds; sigma + r up to which a velocity is not slowed.
    """

    kind: ClassVar[str] = "lived_bases"
    unit: float = 1.0

    def at(self, layer: Layer, times: Tensor) -> list[Gaussians]:
        """Gaussians at each of `times` (Q,), seconds, computed together."""
        splats = layer.splats
        visibility = lifespan_visibility(times[:, None] - splats["time_center"], splats["log_duration"].exp(), splats["log_radius"].exp())
        return [replace(moved, visibility=visibility[q]) for q, moved in enumerate(super().at(layer, times))]

    def moved(self, layer: Layer, times: Tensor, with_quats: bool = True) -> tuple[Tensor, Tensor]:
        """Positions (Q, N, 3) and unit quaternions (Q, N, 4), or (0, N, 4) without, at `times` (Q,), seconds."""
        means, quats = super().moved(layer, times, with_quats)
        splats = layer.splats
        if "velocity" not in splats:  # scene files of earlier versions
            return means, quats
        slowed = splats["velocity"] / motion_divisor(splats["log_duration"].exp(), splats["log_radius"].exp(), "unit", self.unit)[:, None]
        return means + slowed * (times[:, None] - splats["time_center"])[..., None], quats
