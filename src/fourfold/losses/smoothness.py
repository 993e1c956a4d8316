"""Motion without jerks: shared bases, Gaussian paths, and motion along the viewing ray. Lengths in units of the scene's extent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fourfold.geometry.host import on_host, rows_of
from fourfold.losses.base import Step, mean_of
from fourfold.scene.scene import Layer


def second_difference(values: Tensor, dim: int) -> Tensor:
    """2 x_t - x_(t-1) - x_(t+1) along `dim`."""
    length = values.shape[dim]
    return 2 * values.narrow(dim, 1, length - 2) - values.narrow(dim, 0, length - 2) - values.narrow(dim, 2, length - 2)


def _with_bases(step: Step, knots: int) -> Iterator[Layer]:
    return (layer for layer in step.scene.layers if "rotation6d" in layer.shared and layer.shared["rotation6d"].shape[1] >= knots)


@dataclass(frozen=True)
class BasesAcceleration:
    """Mean norm of the second difference of the bases' 6D rotations plus `translation` times that of their translations (section 8).

    `typical` bounds both as in `TrackAcceleration`.
    """

    translation: float = 2.0
    typical: float = math.inf

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the layers with bases; 0 without any."""
        losses = []
        for layer in _with_bases(step, 3):
            turning = bounded(second_difference(layer.shared["rotation6d"], 1).norm(dim=-1), self.typical).mean()
            moving = bounded(second_difference(layer.shared["translation"] / step.extent, 1).norm(dim=-1), self.typical).mean()
            losses.append(turning + self.translation * moving)
        return mean_of(losses, step.gaussians[0].means)


@dataclass(frozen=True)
class BasesDeparture:
    """Mean square departure of the bases from their mean motion: a soft pull towards one rigid body.

    Attributes:
        rotation: weight of the 6D rotations beside the translations (in extents).

    Source: spec calibration.md A and E, the regulariser of the canonical object.
    """

    rotation: float = 0.25

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the layers with bases; 0 without any."""
        losses = []
        for layer in _with_bases(step, 1):
            rotation, translation = layer.shared["rotation6d"], layer.shared["translation"] / step.extent
            apart = (translation - translation.mean(0, keepdim=True)).square().mean()
            losses.append(apart + self.rotation * (rotation - rotation.mean(0, keepdim=True)).square().mean())
        return mean_of(losses, step.gaussians[0].means)


@dataclass(frozen=True)
class _Triple:
    """Positions (N, 3) of one layer at three neighbouring knots."""

    before: Tensor
    here: Tensor
    after: Tensor


def _neighbours(step: Step, item: int) -> list[_Triple]:
    """Positions around the sample's time, at t clamped to [1, T - 2], of every layer with at least three knots."""
    key = f"smoothness:{item}"
    if key not in step.memo:
        layers = [layer for layer in step.scene.layers if len(layer) and len(layer.fixed.get("knots", ())) >= 3]
        step.memo[key] = [_triple(layer, step.samples[item].time) for layer in layers]
    return step.memo[key]


def _triple(layer: Layer, time: float) -> _Triple:
    knots = layer.fixed["knots"]
    middle = min(max(int((on_host(knots) - time).abs().argmin()), 1), len(knots) - 2)
    return _Triple(*layer.means_at(rows_of(knots, slice(middle - 1, middle + 2))).unbind())


@dataclass(frozen=True)
class TrackAcceleration:
    """Half the mean norm of the second difference of all moving Gaussians' positions over three neighbouring knots (section 8).

    Attributes:
        typical: acceleration in extents per squared knot distance beyond which a norm a counts only as typical log(1 + a / typical).
            Section 8 has no such bound (infinity); with few frames per second real motion is jerky, and an unbounded penalty then
            keeps the object from its place in every image.
    """

    typical: float = math.inf

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the batch; 0 without moving layers that have knots."""
        losses = []
        for item in range(len(step.samples)):
            for triple in _neighbours(step, item):
                size = (2 * triple.here - triple.before - triple.after).norm(dim=1) / step.extent
                losses.append(0.5 * bounded(size, self.typical).mean())
        return mean_of(losses, step.gaussians[0].means)


def bounded(size: Tensor, typical: float) -> Tensor:
    """`size` while it is small against `typical`, growing only logarithmically beyond."""
    return size if math.isinf(typical) else typical * torch.log1p(size / typical)


@dataclass(frozen=True)
class RayVelocity:
    """Mean square motion along the viewing ray, to the knot before plus to the knot after (section 8, called "z accel" there).

    A moving camera cannot tell depth from motion along the ray; this decides for little motion.
    """

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the batch; 0 without moving layers that have knots."""
        losses = []
        for item, sample in enumerate(step.samples):
            for triple in _neighbours(step, item):
                ray = torch.nn.functional.normalize(triple.here - sample.camera.center.to(triple.here), dim=1)
                back = ((triple.here - triple.before) * ray).sum(1) / step.extent
                forth = ((triple.after - triple.here) * ray).sum(1) / step.extent
                losses.append(back.square().mean() + forth.square().mean())
        return mean_of(losses, step.gaussians[0].means)
