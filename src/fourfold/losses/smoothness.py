"""Motion without jerks: shared bases, Gaussian paths, and motion along the viewing ray. Lengths in units of the scene's extent."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fourfold.geometry.host import on_host, rows_of
from fourfold.kernels.devices import compiled, pointer
from fourfold.kernels.scored import scored
from fourfold.losses.base import Step, mean_of
from fourfold.scene.scene import Layer


def second_difference(values: Tensor, dim: int) -> Tensor:
    """2 x_t - x_(t-1) - x_(t+1) along `dim`."""
    length = values.shape[dim]
    return 2 * values.narrow(dim, 1, length - 2) - values.narrow(dim, 0, length - 2) - values.narrow(dim, 2, length - 2)


def mean_bend(values: Tensor, dim: int, unit: float, typical: float = math.inf) -> Tensor:
    """Scalar mean of the `bounded` norms over the last dimension of second differences along `dim`, in units of `unit`.

    Times are the dimension before the last (..., K, D) or the first of three (K, N, D). CPU float32 goes through the compiled kernel.
    """
    first = dim == 0 and values.ndim == 3
    library = compiled(values) if first or dim == values.ndim - 2 else None
    if library is None or values.numel() == 0 or values.shape[dim] < 3:
        return mean_bend_reference(values, dim, unit, typical)
    width, moments = values.shape[-1], values.shape[dim]
    rows = values.numel() // (width * moments)
    sizes = (ctypes.c_int64 * 4)(*((1, moments, rows, width) if first else (rows, moments, 1, width)))

    def kernel(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> float:
        value, numbers = ctypes.c_double(), (ctypes.c_float(unit), ctypes.c_float(typical))
        if library.ff_second_difference(pointer(inputs[0]), sizes, *numbers, ctypes.byref(value), pointer(gradients[0])):
            raise MemoryError(f"no memory for the second differences of {rows} paths")
        return value.value

    return scored(kernel, values)


def mean_bend_reference(values: Tensor, dim: int, unit: float, typical: float = math.inf) -> Tensor:
    """The plain twin of `mean_bend`."""
    return bounded(second_difference(values, dim).norm(dim=-1) / unit, typical).mean()


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
            turning = mean_bend(layer.shared["rotation6d"], 1, 1.0, self.typical)
            losses.append(turning + self.translation * mean_bend(layer.shared["translation"], 1, step.extent, self.typical))
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


def _knots_around(step: Step, item: int) -> list[tuple[Layer, str, Tensor]]:
    """Of every layer with at least three knots those (3,) around the sample's time, at t clamped to [1, T - 2], and the key of `Step.places_of`."""
    memo = f"knots:{item}"
    if memo not in step.memo:
        found: list[tuple[Layer, str, Tensor]] = []
        for layer in step.scene.layers:
            knots = layer.fixed.get("knots")
            if knots is not None and len(layer) and len(knots) >= 3:
                middle = min(max(int((on_host(knots) - step.samples[item].time).abs().argmin()), 1), len(knots) - 2)
                found.append((layer, f"knots:{middle}", rows_of(knots, slice(middle - 1, middle + 2))))
        step.memo[memo] = found
    return step.memo[memo]


def _further_times(step: Step) -> dict[tuple[str, str], Tensor]:
    """What the losses below read of the layers; see `Loss`."""
    return {(layer.name, key): knots for item in range(len(step.samples)) for layer, key, knots in _knots_around(step, item)}


def _neighbours(step: Step, item: int) -> list[Tensor]:
    """Positions (3, N, 3) at the knots around the sample's time, of every layer that has them."""
    return [step.places_of(layer, key, knots) for layer, key, knots in _knots_around(step, item)]


@dataclass(frozen=True)
class TrackAcceleration:
    """Half the mean norm of the second difference of all moving Gaussians' positions over three neighbouring knots (section 8).

    Attributes:
        typical: acceleration in extents per squared knot distance beyond which a norm a counts only as typical log(1 + a / typical).
            Section 8 has no such bound (infinity); with few frames per second real motion is jerky, and an unbounded penalty then
            keeps the object from its place in every image.
    """

    typical: float = math.inf

    def further_times(self, step: Step) -> Mapping[tuple[str, str], Tensor]:
        """The knots around the samples' times."""
        return _further_times(step)

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the batch; 0 without moving layers that have knots."""
        items = range(len(step.samples))
        losses = [0.5 * mean_bend(places, 0, step.extent, self.typical) for item in items for places in _neighbours(step, item)]
        return mean_of(losses, step.gaussians[0].means)


def bounded(size: Tensor, typical: float) -> Tensor:
    """`size` while it is small against `typical`, growing only logarithmically beyond."""
    return size if math.isinf(typical) else typical * torch.log1p(size / typical)


@dataclass(frozen=True)
class RayVelocity:
    """Mean square motion along the viewing ray, to the knot before plus to the knot after (section 8, called "z accel" there).

    A moving camera cannot tell depth from motion along the ray; this decides for little motion.
    """

    def further_times(self, step: Step) -> Mapping[tuple[str, str], Tensor]:
        """The knots around the samples' times."""
        return _further_times(step)

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the batch; 0 without moving layers that have knots."""
        pairs = [(sample, places) for item, sample in enumerate(step.samples) for places in _neighbours(step, item)]
        losses = [ray_motion(places, sample.camera.center.detach(), step.extent) for sample, places in pairs]
        return mean_of(losses, step.gaussians[0].means)


def ray_motion(places: Tensor, center: Tensor, unit: float) -> Tensor:
    """Scalar mean square of the motion along the ray from `center` (3,), before plus after, of `places` (3, N, 3) at three moments.

    CPU float32 goes through the compiled kernel.
    """
    library = compiled(places)
    if library is None or places.numel() == 0:
        return ray_motion_reference(places, center, unit)

    def kernel(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> float:
        value, eye = ctypes.c_double(), (ctypes.c_float * 3)(*center.tolist())
        count = ctypes.c_int64(places.shape[1])
        library.ff_ray_motion(pointer(inputs[0]), count, eye, ctypes.c_float(unit), ctypes.byref(value), pointer(gradients[0]))
        return value.value

    return scored(kernel, places)


def ray_motion_reference(places: Tensor, center: Tensor, unit: float) -> Tensor:
    """The plain twin of `ray_motion`."""
    before, here, after = places.unbind()
    ray = torch.nn.functional.normalize(here - center.to(here), dim=1)
    back = ((here - before) * ray).sum(1) / unit
    forth = ((after - here) * ray).sum(1) / unit
    return back.square().mean() + forth.square().mean()
