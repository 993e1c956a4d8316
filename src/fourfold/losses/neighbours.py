"""Neighbours stay neighbours from one moment to the next: the local losses of Dynamic 3D Gaussians (spec baselines.md 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fourfold.geometry.host import on_host
from fourfold.geometry.rotations import quat_conjugate, quat_multiply, quat_rotate
from fourfold.losses.base import Step, mean_of
from fourfold.scene.motion.per_frame import PerFrame
from fourfold.scene.scene import Layer

TINY = 1e-20


@dataclass(frozen=True)
class Neighbourly:
    """One of the three local losses over the layers that move per frame, each pair weighted by how near it was at the first moment.

    "rigid": a neighbour's offset turns as the Gaussian turns since the moment before; "rotation": neighbours turn alike;
    "isometry": distances stay those of the first moment.

    The layer's fixed `neighbours` (N, k) and `neighbour_weight` (N, k) come from `initialize.neighbours`.
    """

    what: Literal["rigid", "rotation", "isometry"]

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the batch; 0 without such layers, and at the first moment."""
        losses = [
            self._one(layer, layer.motion, sample.time)
            for layer in step.scene.layers
            if isinstance(layer.motion, PerFrame) and "neighbours" in layer.fixed and len(layer)
            for sample in step.samples
        ]
        return mean_of(losses, step.gaussians[0].means)

    def _one(self, layer: Layer, motion: PerFrame, time: float) -> Tensor:
        index = int((on_host(layer.fixed["moments"]) - time).abs().argmin())
        now = motion.state(layer, index)
        if index == 0:
            return now[0].sum() * 0
        first = layer.splats["means"].detach()
        with torch.no_grad():
            before = motion.state(layer, index - 1)
        return local_loss(self.what, now, before, first, layer.fixed["neighbours"], layer.fixed["neighbour_weight"])


def local_loss(what: str, now: tuple[Tensor, Tensor], before: tuple[Tensor, Tensor], first: Tensor, near: Tensor, weight: Tensor) -> Tensor:
    """The loss `what` of positions (N, 3) and unit quaternions (N, 4) `now`, against those `before` and the positions `first`."""
    means, turn = now[0], quat_multiply(now[1], quat_conjugate(before[1]))
    if what == "rotation":
        return (weight * (turn[near] - turn[:, None]).square().sum(-1) + TINY).sqrt().mean()
    offset = means[near] - means[:, None]
    if what == "isometry":
        was = (first[near] - first[:, None]).norm(dim=-1)
        return (weight * ((offset.square().sum(-1) + TINY).sqrt() - was).square() + TINY).sqrt().mean()
    back = quat_rotate(quat_conjugate(turn)[:, None].expand(*near.shape, 4), offset)
    return (weight * (back - (before[0][near] - before[0][:, None])).square().sum(-1) + TINY).sqrt().mean()
