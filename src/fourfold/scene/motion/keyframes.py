"""Keyframes: Ex4DGS (spec sharptimegs_freetimegs.md D). Positions by cubic Hermite, rotations by slerp, a lifetime with a flat top.

opacity is multiplied by 1 between `time_on` and `time_off`, by exp(-((t - nearest end) / sigma)^2 / 2) with a sigma of its own on each side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.host import on_host
from fourfold.geometry.rotations import quat_normalize, slerp
from fourfold.scene.scene import Layer


@dataclass(frozen=True)
class Keyframes:
    """Each Gaussian passes through its own positions and rotations at common moments.

    Reads the splats `shift_keys` (N, K, 3) scene units added to `means`, `quat_keys` (N, K, 4), `time_on` and `time_off` (N,)
    seconds and `log_fade` (N, 2) natural logarithms of the standard deviations before and after, and the fixed `knots` (K,) seconds,
    evenly spaced. Tangents are those of Catmull and Rom; outside the knots the ends stay.
    """

    kind: ClassVar[str] = "keyframes"

    def at(self, layer: Layer, times: Tensor) -> list[Gaussians]:
        """Gaussians at each of `times` (Q,), seconds."""
        return [self._at(layer, time, told) for time, told in zip(times, on_host(times), strict=True)]

    def _at(self, layer: Layer, time: Tensor, told: Tensor) -> Gaussians:
        """At `time`, of which `told` is the copy on the host."""
        splats, knots = layer.splats, layer.fixed["knots"]
        count, place = len(knots), _place(time, knots)
        first = min(int(place if time is told else _place(told, on_host(knots))), max(count - 2, 0))
        second, share = min(first + 1, count - 1), place - first
        keys = splats["shift_keys"]
        means = splats["means"] + hermite(keys[:, max(first - 1, 0)], keys[:, first], keys[:, second], keys[:, min(second + 1, count - 1)], share)
        start, end = (quat_normalize(splats["quat_keys"][:, k]) for k in (first, second))
        quats = slerp(start, end, share.expand(len(start)))
        early, late = (splats["time_on"] - time).clamp_min(0), (time - splats["time_off"]).clamp_min(0)
        fade = splats["log_fade"].exp()
        visibility = torch.exp(-0.5 * ((early / fade[:, 0]).square() + (late / fade[:, 1]).square()))
        return replace(layer.canonical(), means=means, quat_wxyz=quats, visibility=visibility)


def _place(time: Tensor, knots: Tensor) -> Tensor:
    """Where `time` is among evenly spaced knots: 0 at the first, K - 1 at the last."""
    count = len(knots)
    gap = (knots[-1] - knots[0]) / max(count - 1, 1)
    return ((time - knots[0]) / gap.clamp_min(1e-9)).clamp(0, count - 1) if count > 1 else time.new_zeros(())


def hermite(before: Tensor, start: Tensor, end: Tensor, after: Tensor, share: Tensor) -> Tensor:
    """Cubic from `start` to `end` at `share` () in [0, 1], tangents half the chord of the neighbours."""
    rising, falling = (end - before) / 2, (after - start) / 2
    s, s2, s3 = share, share**2, share**3
    return (2 * s3 - 3 * s2 + 1) * start + (s3 - 2 * s2 + s) * rising + (3 * s2 - 2 * s3) * end + (s3 - s2) * falling
