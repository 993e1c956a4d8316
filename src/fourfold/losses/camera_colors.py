"""Cameras of a rig differ in exposure and white balance: what a camera shows is gain * colour + offset, learned per camera.

Gains and offsets are taken relative to their mean over the training cameras, so the scene itself always has the mean training colours
and is evaluated as it is: nothing is fitted to a test camera. Spec calibration.md B: cameras differ by 10-15 %, worth 1.3 dB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from fourfold.losses.base import Loss, Step
from fourfold.render.points import AtPoints
from fourfold.scene.scene import Layer, Scene

LAYER = "cameras"


def camera_colors(scene: Scene) -> tuple[Tensor, Tensor] | None:
    """Gain (V, 3) and offset (V, 3) of each camera relative to the mean training camera, or None if the scene has none."""
    layer = _layer(scene)
    if layer is None:
        return None
    weight = layer.fixed["trained"][:, None] / layer.fixed["trained"].sum()
    log_gain, offset = layer.shared["log_gain"], layer.shared["offset"]
    return (log_gain - (log_gain * weight).sum(0)).exp(), offset - (offset * weight).sum(0)


@dataclass(frozen=True)
class AsCameraSees:
    """`inner`, a loss on colours, after the rendering has been given the gain and offset of its camera."""

    inner: Loss

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor | AtPoints]:
        """What `inner` needs."""
        return self.inner.channels(step, item)

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the batch."""
        colors = camera_colors(step.scene)
        if colors is None:
            return self.inner(step)
        gain, offset = colors
        pairs = zip(step.renders, step.samples, strict=True)
        return self.inner(replace(step, renders=[replace(render, color=render.color * gain[s.view] + offset[s.view]) for render, s in pairs]))


@dataclass(frozen=True)
class SimilarCameras:
    """Mean square of the log gains and offsets: cameras differ no more than the images say."""

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss; 0 without camera colours."""
        layer = _layer(step.scene)
        if layer is None:
            return step.gaussians[0].means.new_zeros(())
        return layer.shared["log_gain"].square().mean() + layer.shared["offset"].square().mean()


def _layer(scene: Scene) -> Layer | None:
    return next((layer for layer in scene.layers if layer.name == LAYER and "log_gain" in layer.shared), None)
