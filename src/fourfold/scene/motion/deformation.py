"""A network that moves canonical Gaussians: Deformable 3D Gaussians (spec baselines.md 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.scene import Layer

SMALLEST_SCALE = 1e-6


@dataclass(frozen=True)
class Deformation:
    """(x, t) -> change of position, rotation and standard deviations, by a fully connected network with one skip connection.

    Reads the shared `weight_I` (out, in) and `bias_I` (out,) of its `depth` hidden layers and of the head I = depth, (10, width), and
    the fixed `box` (2, 3), lower corner and size of what is taken as [-1, 1]^3, `span` (2,), first second and length of the recording,
    and optionally `time_shift` (), seconds added to every time (annealed smoothing, zero when training is over). Positions
    enter without gradient. `depth` 8 and `width` 256 are the paper's; on a CPU they cost a second per image.

    Attributes:
        waves, time_waves: frequencies 2^k, k = 0 .. waves - 1, with which position and time enter.
    """

    kind: ClassVar[str] = "deformation"
    depth: int = 8
    width: int = 256
    waves: int = 10
    time_waves: int = 10

    def at(self, layer: Layer, times: Tensor) -> list[Gaussians]:
        """Gaussians at each of `times` (K,), seconds."""
        return [self._moved(layer, time) for time in times]

    def _moved(self, layer: Layer, time: Tensor) -> Gaussians:
        still = layer.canonical()
        change = self.field(layer, time)
        scale = (still.log_scale.exp() + change[:, 7:]).clamp_min(SMALLEST_SCALE)
        quat = torch.nn.functional.normalize(still.quat_wxyz, dim=1) + change[:, 3:7]
        return replace(still, means=still.means + change[:, :3], quat_wxyz=quat, log_scale=scale.log())

    def field(self, layer: Layer, time: Tensor) -> Tensor:
        """(N, 10) change of position, quaternion and standard deviations at `time` (), seconds."""
        box, span, shared = layer.fixed["box"], layer.fixed["span"], layer.shared
        time = time + layer.fixed["time_shift"] if "time_shift" in layer.fixed else time
        place = 2 * (layer.splats["means"].detach() - box[0]) / box[1] - 1
        moment = ((time - span[0]) / span[1]).expand(len(place), 1)
        entered = torch.cat([waves(place, self.waves), waves(moment, self.time_waves)], dim=1)
        value = entered
        for index in range(self.depth):
            if index == self.depth // 2 + 1:
                value = torch.cat([value, entered], dim=1)
            value = torch.relu(torch.addmm(shared[f"bias_{index}"], value, shared[f"weight_{index}"].T))
        return torch.addmm(shared[f"bias_{self.depth}"], value, shared[f"weight_{self.depth}"].T)

    def fresh(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Weights as torch's linear layers start, the head at zero: at first nothing is deformed."""
        entered = 3 * (1 + 2 * self.waves) + 1 + 2 * self.time_waves
        shared: dict[str, Tensor] = {}
        for index in range(self.depth):
            inputs = entered if index == 0 else self.width + (entered if index == self.depth // 2 + 1 else 0)
            bound = 1 / math.sqrt(inputs)
            shared[f"weight_{index}"] = (torch.rand(self.width, inputs, generator=generator) * 2 - 1) * bound
            shared[f"bias_{index}"] = (torch.rand(self.width, generator=generator) * 2 - 1) * bound
        shared[f"weight_{self.depth}"], shared[f"bias_{self.depth}"] = torch.zeros(10, self.width), torch.zeros(10)
        return shared


def waves(value: Tensor, count: int) -> Tensor:
    """(N, C (1 + 2 count)): `value` (N, C), then sine and cosine of 2^k value for k = 0 .. count - 1 (no pi)."""
    parts = [value]
    for k in range(count):
        parts += [torch.sin(2.0**k * value), torch.cos(2.0**k * value)]
    return torch.cat(parts, dim=1)
