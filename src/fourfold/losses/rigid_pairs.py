"""Neighbours keep their distance from any moment to any other: MonoFusion's rigidity in a bounded form.

The paper's equation 11 sums signed differences of squared distances, which has no lower bound, and gives no weight. Here (spec
monofusion.md section 7): mean | |x_t - x_t^i|^2 - |x_t' - x_t'^i|^2 | over the mean squared distance of neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fourfold.geometry.host import on_host, sent
from fourfold.losses.base import Step, mean_of
from fourfold.scene.scene import Layer


@dataclass(frozen=True)
class RigidPairs:
    """Compares a sample's time with one other knot, drawn anew every step, over layers that have fixed `neighbours` (N, k) and knots.

    Attributes:
        count: Gaussians that are looked at in a step.
    """

    count: int = 4096

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, without unit, averaged over the batch; 0 without such layers."""
        losses = [self._one(layer, sample.time, step.index, item) for item, sample in enumerate(step.samples) for layer in _bound(step)]
        return mean_of(losses, step.gaussians[0].means)

    def _one(self, layer: Layer, time: float, index: int, item: int) -> Tensor:
        knots, near = layer.fixed["knots"], layer.fixed["neighbours"]
        random = np.random.default_rng((index, item, 1111))
        told = on_host(knots)
        others = (told - time).abs() > 1e-6
        other = told[others][int(random.integers(int(others.sum())))]
        positions = layer.means_at(sent(torch.stack([told.new_tensor(time), other]), knots.device))
        rows = torch.from_numpy(random.permutation(len(layer))[: self.count]).to(near.device, non_blocking=True)
        return rigid_pairs(positions[0], positions[1], near, rows)


def rigid_pairs(here: Tensor, there: Tensor, near: Tensor, rows: Tensor) -> Tensor:
    """The loss of the Gaussians `rows` (M,) with positions `here` and `there` (N, 3) and neighbours `near` (N, k)."""
    pairs = near[rows]
    one = (here[rows][:, None] - here[pairs]).square().sum(-1)
    other = (there[rows][:, None] - there[pairs]).square().sum(-1)
    return (one - other).abs().mean() / one.detach().mean().clamp_min(1e-12)


def _bound(step: Step) -> Iterator[Layer]:
    for layer in step.scene.layers:
        near = layer.fixed.get("neighbours")
        if near is not None and len(near) == len(layer) and len(layer.fixed.get("knots", ())) >= 2:
            yield layer
