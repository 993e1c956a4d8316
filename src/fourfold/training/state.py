"""Everything that training changes from step to step: what a checkpoint holds and a resumed run needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch

import torch
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.density.base import GrowthStatistics
from fourfold.scene.scene import Layer, Scene


@dataclass
class Moments:
    """Adam's memory of one tensor: `first` and `second` in the tensor's shape, and how many `steps` it has seen."""

    first: Tensor
    second: Tensor
    steps: int = 0


@dataclass(frozen=True)
class Lengths:
    """What lengths are measured in, scene units: the `extent` of the scene and, by a layer's name, the size of a pixel at its Gaussians."""

    extent: float
    pixels: Mapping[str, float] = field(default_factory=dict)


@dataclass
class TrainingState:
    """Where training stands.

    Attributes:
        scene: the scene with its current parameters.
        stage: number of the stage; step: steps done in it; steps: steps planned for it, 0 until the stage was entered.
        extent: size of the scene when the stage was entered, scene units; pixels: of a pixel at each layer's Gaussians, by the layer's name.
        seconds: time spent in training so far, over all runs.
        skipped: steps left out because a loss or a gradient was not finite; bad: how many of them in a row until now.
        caution: factor on all rates, halved whenever training went back because too many steps in a row were not finite.
        eased: how often the batch was halved because memory did not suffice.
        moments: "layer.parameter" -> Adam's moments, of the current stage.
        growth: layer name -> growth statistics, of the current stage.
        planned: stage name -> steps, as scheduled (a time budget shortens them).
    """

    scene: Scene
    stage: int = 0
    step: int = 0
    steps: int = 0
    extent: float = 1.0
    seconds: float = 0.0
    skipped: int = 0
    bad: int = 0
    caution: float = 1.0
    eased: int = 0
    moments: dict[str, Moments] = field(default_factory=dict)
    growth: dict[str, GrowthStatistics] = field(default_factory=dict)
    planned: dict[str, int] = field(default_factory=dict)
    pixels: dict[str, float] = field(default_factory=dict)

    @property
    def lengths(self) -> Lengths:
        """What rates are told in."""
        return Lengths(self.extent, self.pixels)

    def next_stage(self) -> None:
        """Move to the beginning of the following stage, with fresh moments and statistics."""
        self.stage, self.step, self.steps = self.stage + 1, 0, 0
        self.moments, self.growth = {}, {}


def parameters(layer: Layer) -> Iterator[tuple[str, dict[str, Tensor], str]]:
    """("layer.parameter", the dictionary that holds it, its key) of every trainable tensor of `layer`, splats first."""
    for group in (layer.splats, layer.shared):
        for name in group:
            yield f"{layer.name}.{name}", group, name


def drawn(scene: Scene, patterns: tuple[str, ...]) -> Scene:
    """`scene` reduced to the layers whose names match one of `patterns`; tensors are shared."""
    return replace(scene, layers=[layer for layer in scene.layers if any(fnmatch(layer.name, pattern) for pattern in patterns)])


def scene_to(scene: Scene, device: torch.device) -> Scene:
    """A copy of `scene` with all tensors on `device`, outside any autograd graph."""

    def moved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.detach().to(device, copy=True).contiguous() for name, value in tensors.items()}

    layers = [replace(layer, splats=moved(layer.splats), shared=moved(layer.shared), fixed=moved(layer.fixed)) for layer in scene.layers]
    return replace(scene, layers=layers)


def lengths_of(scene: Scene, capture: Capture, images: int = 16) -> Lengths:
    """The lengths of `scene`; pixels are those of the training images, the median over Gaussians in the picture and over some `images`."""
    sizes: dict[str, list[Tensor]] = {layer.name: [] for layer in scene.layers}
    frames = capture.train_frames()
    for view, index in frames[:: max(1, len(frames) // images)]:
        camera = capture.camera_at(view, index)
        gaussians, slices = scene.at(float(capture.timestamps[index])).detach(), scene.slices()
        means = gaussians.means.to(camera.K.dtype)
        local = means @ camera.world_to_camera[:3, :3].T.to(means.device) + camera.world_to_camera[:3, 3].to(means.device)
        image = local @ camera.K.T.to(means.device)
        xy = image[:, :2] / image[:, 2:].clamp_min(1e-9)
        inside = (image[:, 2] > 0) & (xy >= 0).all(1) & (xy[:, 0] < camera.width) & (xy[:, 1] < camera.height)
        if gaussians.visibility is not None:
            inside &= gaussians.visibility > 0.5
        for name, rows in slices.items():
            sizes[name].append(image[rows, 2][inside[rows]] / camera.K[0, 0].to(means.device))
    known = {name: torch.cat(found) for name, found in sizes.items() if sum(len(values) for values in found)}
    return Lengths(scene_extent(scene, capture), {name: float(values.median()) for name, values in known.items()})


def scene_extent(scene: Scene, capture: Capture) -> float:
    """A length that stands for the size of what is filmed, scene units: rates and thresholds are told in it.

    Half the largest side of the 5-95 % box of all Gaussians, but not more than the median distance of the Gaussians from the
    middle of the training cameras: far background must not blow up the steps of what is near.
    """
    means = torch.cat([layer.splats["means"].detach() for layer in scene.layers]).float()
    if len(means) == 0:
        return 1.0
    stride = max(1, len(means) // 100_000)
    low, high = torch.quantile(means[::stride], torch.tensor([0.05, 0.95], device=means.device), dim=0)
    half = float((high - low).amax()) / 2
    centers = torch.stack([capture.camera_at(view, index).center for view, index in capture.train_frames()]).to(means.device)
    reach = float((means - centers.mean(0)).norm(dim=1).median())
    return max(min(half, reach) if half > 0 else reach, 1e-6)
