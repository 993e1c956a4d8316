"""A position and a rotation of its own at every moment: Dynamic 3D Gaussians (spec baselines.md 4).

Stored is what a moment adds to going on as before: x_t = x_(t-1) + (x_(t-1) - x_(t-2)) + bend_t, q_t = q_(t-1) + (q_(t-1) - q_(t-2)) + twist_t.
So a moment that was not trained yet starts where the motion would carry it, and only the newest moment gets gradients.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.host import on_host
from fourfold.scene.scene import Layer


@dataclass(frozen=True)
class PerFrame:
    """One pose per Gaussian and moment.

    Reads the splats `bend_KKK` (N, 3) scene units and `twist_KKK` (N, 4) for the moments K = 1 .. K - 1 (moment 0 is the canonical
    state) and the fixed `moments` (K,) seconds. Between moments positions and quaternions are interpolated linearly.
    """

    kind: ClassVar[str] = "per_frame"

    def at(self, layer: Layer, times: Tensor) -> list[Gaussians]:
        """Gaussians at each of `times` (Q,), seconds."""
        return [self._at(layer, float(time)) for time in on_host(times)]

    def _at(self, layer: Layer, time: float) -> Gaussians:
        moments = on_host(layer.fixed["moments"])
        after = int(torch.searchsorted(moments, torch.as_tensor(time, dtype=moments.dtype, device=moments.device)).clamp(0, len(moments) - 1))
        before = after if after == 0 or abs(float(moments[after]) - time) < 1e-9 or time > float(moments[after]) else after - 1
        means, quats = self.state(layer, after)
        if before != after:
            share = (time - float(moments[before])) / (float(moments[after]) - float(moments[before]))
            means0, quats0 = self.state(layer, before)
            same = torch.where((quats * quats0).sum(1, keepdim=True) < 0, -1.0, 1.0)
            means, quats = means0 + share * (means - means0), quats0 + share * (same * quats - quats0)
        return replace(layer.canonical(), means=means, quat_wxyz=quats)

    def state(self, layer: Layer, index: int) -> tuple[Tensor, Tensor]:
        """Positions (N, 3) and quaternions (N, 4) at moment `index`; gradients reach that moment's own change alone."""
        splats = layer.splats
        if index == 0:
            return splats["means"], splats["quat_wxyz"]
        with torch.no_grad():
            path = [(splats["means"], torch.nn.functional.normalize(splats["quat_wxyz"], dim=1))] * 2
            for k in range(1, index):
                path = [path[1], self._next(path, splats, k)]
        return self._next(path, splats, index)

    @staticmethod
    def _next(path: list[tuple[Tensor, Tensor]], splats: dict[str, Tensor], k: int) -> tuple[Tensor, Tensor]:
        (x0, q0), (x1, q1) = path
        return 2 * x1 - x0 + splats[f"bend_{k:03d}"], torch.nn.functional.normalize(2 * q1 - q0 + splats[f"twist_{k:03d}"], dim=1)
