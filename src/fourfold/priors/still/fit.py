"""A static scene fitted robustly to all frames, in which each Gaussian learns how much of its surroundings it cannot explain.

The image's weighted L1 error moves the Gaussians. Each Gaussian's residual scale is the weighted mean of the errors of the pixels it
paints: the maximum-likelihood scale of r / sigma + log sigma, gathered by channels of value zero, whose gradients are exactly the sums
wanted and touch nothing else. Every sum over pixels is numpy's: the result is the same for any number of threads.
Source: docs/masks.md; robust weights after Geman and McClure (1987).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.counting import counted
from fourfold.geometry.gaussians import Gaussians
from fourfold.kernels.adam import adam_step
from fourfold.priors.still.frames import StillFrame
from fourfold.render.api import Render, rasterize

Image = NDArray[np.float32]


@dataclass(frozen=True)
class FitNumbers:
    """Numbers of the fit.

    Attributes:
        steps: images drawn in all, at most; a short clip needs `per_frame` of each.
        per_frame: how often each image is drawn at most.
        coarse: share of the steps at half the resolution.
        trusting: share of the steps in which only the tracks' suspicion weighs.
        outlier: residual over its scale at which a pixel weighs half.
        blur: pixels over which residuals are smoothed before they weigh.
        rates: of the parameters per step; offsets from where a Gaussian began, in its own first deviations, falling to a tenth: near things
            and far ones move by as many pixels.
        scale_start, scale_least, scale_memory: residual scale at first and at least, of a colour range of 1, and how many images of
            experience one image's error is worth against.
        hole_scale: residual scale of what no Gaussian paints.
    """

    steps: int = 700
    per_frame: int = 14
    coarse: float = 0.35
    trusting: float = 0.25
    outlier: float = 2.5
    blur: float = 2.0
    rates: dict[str, float] = field(
        default_factory=lambda: {"offset": 0.25, "quat_wxyz": 2e-3, "log_scale": 8e-3, "opacity_logit": 4e-2, "color_logit": 3e-2}
    )
    scale_start: float = 0.03
    scale_least: float = 0.008
    scale_memory: float = 20.0
    hole_scale: float = 0.03


class StillScene:
    """The Gaussians being fitted: parameters (means as offsets from the start's), Adam's moments, and per Gaussian the weighted error (N,)
    and weight (N,) seen so far."""

    def __init__(self, start: Gaussians, numbers: FitNumbers) -> None:
        color = start.color.clamp(0.02, 0.98)
        self.anchor, self.reach = start.means.clone(), start.log_scale.mean(1, keepdim=True).exp()
        self.parameters = {
            "offset": torch.zeros_like(start.means),
            "quat_wxyz": start.quat_wxyz.clone(),
            "log_scale": start.log_scale.clone(),
            "opacity_logit": start.opacity_logit.clone(),
            "color_logit": torch.log(color / (1 - color)),
        }
        self.moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in self.parameters.items()}
        self.numbers = numbers
        self.weight = np.full(len(start), 1e-3, np.float32)
        self.error = self.weight * np.float32(numbers.scale_start)
        self.steps = 0

    def __len__(self) -> int:
        return len(self.weight)

    def gaussians(self) -> Gaussians:
        """The scene as it is, differentiable in its parameters where they ask for it."""
        p = self.parameters
        return Gaussians(self.anchor + self.reach * p["offset"], p["quat_wxyz"], p["log_scale"], p["opacity_logit"], torch.sigmoid(p["color_logit"]))

    @property
    def log_residual(self) -> Image:
        """(N,) logarithm of the residual scale of each Gaussian."""
        return np.log(np.clip(self.error / self.weight, self.numbers.scale_least, 1.0)).astype(np.float32)

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Drop all Gaussians but `rows` (N,)."""
        index = torch.from_numpy(np.flatnonzero(rows))
        self.parameters = {name: p.detach()[index].clone() for name, p in self.parameters.items()}
        self.moments = {name: (m[index].clone(), v[index].clone()) for name, (m, v) in self.moments.items()}
        self.anchor, self.reach = self.anchor[index], self.reach[index]
        self.weight, self.error = self.weight[rows], self.error[rows]


@dataclass(frozen=True)
class Explained:
    """One image as the static scene has it: color (h, w, 3), alpha (h, w), scale (h, w) of its residuals, and residual (h, w), the mean
    absolute colour difference."""

    color: Image
    alpha: Image
    scale: Image
    residual: Image


def explain(scene: StillScene, frame: StillFrame, gain: NDArray[np.float32]) -> Explained:
    """Draw one image; `gain` (3,) is its exposure against the scene's."""
    with torch.no_grad():
        drawn = rasterize(scene.gaussians(), frame.camera, channels=torch.from_numpy(scene.log_residual)[:, None], background=torch.full((3,), 0.5))
    return _explained(drawn, frame.color, gain, scene.numbers)


def _explained(drawn: Render, image: Image, gain: NDArray[np.float32], numbers: FitNumbers) -> Explained:
    assert drawn.channels is not None
    color, alpha = drawn.color.detach().numpy() * gain, drawn.alpha.detach().numpy()
    scale = np.exp(drawn.channels.detach().numpy()[..., 0] + np.float32(np.log(numbers.hole_scale)) * (1 - alpha))
    return Explained(color, alpha, scale, np.abs(color - image).mean(-1))


def fit_still(
    scene: StillScene,
    frames: Sequence[StillFrame],
    gains: NDArray[np.float32],
    random: np.random.Generator,
    part: tuple[float, float],
    blocked: dict[int, NDArray[np.bool_]] | None = None,
) -> None:
    """Run the share `part` of all steps, in place.

    Args:
        frames: training images only are drawn, every one as often as any other.
        gains: (F, 3) exposure of each frame against the scene's.
        part: from and to, of the whole fit's steps; the schedule of weights and rates goes by it.
        blocked: by number of the frame, pixels (h, w) that are left out.
    """
    numbers = scene.numbers
    train = [n for n, frame in enumerate(frames) if frame.train]
    total = min(numbers.steps, numbers.per_frame * len(train))
    order: list[int] = []
    for step in counted(range(round(part[0] * total), round(part[1] * total)), "fitting what stands still"):
        if not order:
            order = [train[i] for i in random.permutation(len(train))]
        number = order.pop()
        _step(scene, frames[number], gains[number], step / total, None if blocked is None else blocked.get(number))


def _step(scene: StillScene, frame: StillFrame, gain: NDArray[np.float32], progress: float, blocked: NDArray[np.bool_] | None) -> None:
    """Draw one image and move every Gaussian once."""
    numbers = scene.numbers
    camera, image, suspicion = frame.camera, frame.color, frame.suspicion
    if progress < numbers.coarse:
        camera = camera.scaled(0.5)
        size = (camera.width, camera.height)
        image, suspicion = (cv2.resize(a, size, interpolation=cv2.INTER_AREA) for a in (image, suspicion))
        blocked = None if blocked is None else cv2.resize(blocked.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    for parameter in scene.parameters.values():
        parameter.requires_grad_(True)
        parameter.grad = None
    channels = torch.zeros(len(scene), 3)
    channels[:, 0] = torch.from_numpy(scene.log_residual)
    channels.requires_grad_(True)
    drawn = rasterize(scene.gaussians(), camera, channels=channels, background=torch.full((3,), 0.5))
    assert drawn.channels is not None
    now = _explained(drawn, image, gain, numbers)
    weight = _weights(now, suspicion, progress, numbers)
    if blocked is not None:
        weight = np.where(blocked, np.float32(0.02) * weight, weight)
    of_color = weight[..., None] * np.sign(now.color - image) * gain / (3 * max(float(weight.sum()), 1e-6))
    gathering = np.stack([np.zeros_like(weight), weight * now.residual, weight], -1)
    torch.autograd.backward([drawn.color, drawn.channels], [_tensor(of_color), _tensor(gathering)])
    assert channels.grad is not None
    _remember(scene, channels.grad.numpy())
    _move(scene, progress)


def _weights(now: Explained, suspicion: Image, progress: float, numbers: FitNumbers) -> Image:
    """(h, w) how much each pixel counts: by the tracks alone at first, then by how well it is explained."""
    if progress < numbers.trusting:
        return np.clip(1 - 1.2 * suspicion, 0.02, 1)
    ratio = cv2.GaussianBlur(now.residual / now.scale, (0, 0), numbers.blur)
    return (1 / (1 + (ratio / numbers.outlier) ** 4) * (1 - 0.5 * np.clip(suspicion, 0, 1))).astype(np.float32)


def _remember(scene: StillScene, gathered: Image) -> None:
    """Add one image's weighted errors (N, 3: -, error, weight) to what each Gaussian saw; a Gaussian it did not show forgets nothing."""
    error, weight = gathered[:, 1], gathered[:, 2]
    forget = np.where(weight > 0, np.float32(1 - 1 / scene.numbers.scale_memory), np.float32(1))
    scene.error = scene.error * forget + error
    scene.weight = scene.weight * forget + weight


def _move(scene: StillScene, progress: float) -> None:
    scene.steps += 1
    for name, parameter in scene.parameters.items():
        rate = scene.numbers.rates[name] * (0.1**progress if name == "offset" else 1.0)
        assert parameter.grad is not None
        first, second = scene.moments[name]
        adam_step(parameter.data, parameter.grad, first, second, scene.steps, rate)
        parameter.grad = None
        parameter.requires_grad_(False)


def _tensor(array: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
