"""Shared SE(3) motion bases with a life for every Gaussian: Shape of Motion's motion, SharpTimeGS's flat-top lifespan.

The motion is `se3_bases`' (spec shape_of_motion.md section 1); the opacity is multiplied by 1 where |t - time_center| <= r and by
exp(-((|t - time_center| - r) / sigma)^2) elsewhere (spec sharptimegs_freetimegs.md B1). Velocities are not slowed by a long life: what moves a
Gaussian is shared with its neighbours, whatever their lives are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.motion.lifespan import lifespan_visibility
from fourfold.scene.motion.se3_bases import SE3Bases
from fourfold.scene.scene import Layer


@dataclass(frozen=True)
class LivedBases(SE3Bases):
    """`SE3Bases` whose Gaussians are fully there within r of their own moment and fade beyond it.

    Reads what `SE3Bases` reads, and the splats `time_center` (N,) seconds, `log_duration` (N,) natural logarithm of sigma in seconds and
    `log_radius` (N,) natural logarithm of r in seconds. `means` are canonical positions whatever the moment: lives change no motion.
    """

    kind: ClassVar[str] = "lived_bases"

    def at(self, layer: Layer, times: Tensor) -> list[Gaussians]:
        """Gaussians at each of `times` (Q,), seconds, computed together."""
        splats = layer.splats
        since = times[:, None] - splats["time_center"]
        visibility = lifespan_visibility(since, splats["log_duration"].exp(), splats["log_radius"].exp())
        return [replace(moved, visibility=visibility[q]) for q, moved in enumerate(super().at(layer, times))]
