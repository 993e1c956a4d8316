"""Polynomial motion and a radial basis in time: Spacetime Gaussians (spec baselines.md 3).

x(t) = mean + b1 d + b2 d^2 + b3 d^3 and q(t) = q + omega d with d = t - time_center, which gets no gradient from the motion;
opacity is multiplied by exp(-(d / s)^2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.scene import Layer


@dataclass(frozen=True)
class Polynomial:
    """Each Gaussian flies along a cubic and turns linearly while it is there.

    Reads the splats `curve` (N, 3, 3) (linear, quadratic and cubic coefficients, scene units per second, s^2, s^3), `turn` (N, 4)
    quaternion change per second, `time_center` (N,) seconds and `log_duration` (N,) natural logarithm of s in seconds.
    """

    kind: ClassVar[str] = "polynomial"

    def at(self, layer: Layer, times: Tensor) -> list[Gaussians]:
        """Gaussians at each of `times` (K,), seconds."""
        splats, still = layer.splats, layer.canonical()
        since = times[:, None] - splats["time_center"]
        visibility = torch.exp(-(since * torch.exp(-splats["log_duration"])).square())
        step = since.detach()
        powers = torch.stack([step, step**2, step**3], dim=-1)
        means = splats["means"] + torch.einsum("knp,npc->knc", powers, splats["curve"])
        quats = splats["quat_wxyz"] + splats["turn"] * step[..., None]
        return [replace(still, means=means[k], quat_wxyz=quats[k], visibility=visibility[k]) for k in range(len(times))]
