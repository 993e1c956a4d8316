"""What a loss sees of a training step, and what a loss is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from fourfold.geometry.camera import Camera
from fourfold.geometry.gaussians import Gaussians
from fourfold.render.api import Render
from fourfold.render.points import AtPoints
from fourfold.scene.scene import Layer, Scene


@dataclass(frozen=True)
class TrackTargets:
    """Where pixels of this image are at other times.

    Attributes:
        pixels: (P, 2) query positions in this image, pixels.
        times: (K,) target times in seconds; cameras: the K target cameras.
        xy: (P, K, 2) target positions in pixels of the target images.
        depth: (P, K) target depth along the target camera's axis, 0 unknown.
        visible: (P, K) 1.0 where the target is visible.
        weight: (P, K) confidence.
    """

    pixels: Tensor
    times: Tensor
    cameras: tuple[Camera, ...]
    xy: Tensor
    depth: Tensor
    visible: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Sample:
    """One training image and what is known about it, at the resolution of this step.

    Attributes:
        view, index: which image; time: seconds.
        image: (H, W, 3) RGB in [0, 1].
        valid: (H, W) 1.0 where the pixel may supervise, or None for everywhere.
        mask: (H, W) 1.0 moving object, 0.0 background, or None; mask_valid: (H, W) 1.0 where the mask may be trusted, or None.
        depth: (H, W) prior depth, 0 unknown, or None; depth_confidence: (H, W) or None.
        tracks: track supervision, or None.
        features: (h, w, C) features of the image on a grid that covers it evenly, or None.
    """

    view: int
    index: int
    time: float
    camera: Camera
    image: Tensor
    valid: Tensor | None = None
    mask: Tensor | None = None
    mask_valid: Tensor | None = None
    depth: Tensor | None = None
    depth_confidence: Tensor | None = None
    tracks: TrackTargets | None = None
    features: Tensor | None = None


def _itself(value: Tensor) -> Tensor:
    """`value`: the sum over one process."""
    return value


@dataclass
class Step:
    """One optimisation step: the scene, the batch, and after rasterization the renders.

    Attributes:
        scene: the scene being trained.
        samples: the batch of B images.
        gaussians: the scene at each sample's time, B of them.
        renders: B renders; empty while `Loss.channels` is asked.
        extra: per sample, the rendered extra channels by name: (H, W, C) images, or (P, C + 1) for what was asked for at points.
        index: step number in the stage; progress: 0..1 through the stage.
        extent: size of the scene, scene units: half the largest side of the 5-95 % box of the Gaussians at the stage's start, but not more
            than their median distance from the middle of the training cameras.
        memo: what several losses need and compute once, by a name of their own choice.
        places: positions (K, N, 3) of layers at the times that losses told in advance, by the layer's name and the loss's key.
        summed: the sum of a tensor over the processes that train together; what a loss gathers for density control goes through it.
    """

    scene: Scene
    samples: list[Sample]
    gaussians: list[Gaussians]
    renders: list[Render]
    extra: list[dict[str, Tensor]]
    index: int
    progress: float
    extent: float
    memo: dict[str, Any] = field(default_factory=dict)
    places: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    summed: Callable[[Tensor], Tensor] = _itself

    def places_of(self, layer: Layer, key: str, times: Tensor) -> Tensor:
        """Positions (K, N, 3) of `layer` at `times` (K,), seconds: those that were told in advance under `key`, else computed now."""
        place = layer.name, key
        if place not in self.places:
            self.places[place] = layer.means_at(times)
        return self.places[place]


class Loss(Protocol):
    """A loss: a frozen dataclass of numbers with two functions over a `Step`.

    One that reads positions of layers at other times than the images' may tell them before anything is moved, so that they are computed in one
    pass with the Gaussians: `further_times(step) -> Mapping[tuple[str, str], Tensor]`, times (K,) in seconds by the layer's name and a key of its
    own. It reads the positions by `Step.places_of`. Losses that tell the same key share them.
    """

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor | AtPoints]:
        """Extra per-Gaussian channels, name -> (N, C), that sample `item` must be rendered with; usually none.

        Losses that ask for the same name share the channel. Values that are read at some positions only are asked for as `AtPoints`, under
        one name for all losses of a stage.
        """
        ...

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the batch."""
        ...


def mean_of(losses: Sequence[Tensor], like: Tensor) -> Tensor:
    """The mean of scalar losses; a single one as it is, and 0 on the device of `like` without any."""
    if len(losses) == 1:
        return losses[0]
    return torch.stack(list(losses)).mean() if losses else like.new_zeros(())
