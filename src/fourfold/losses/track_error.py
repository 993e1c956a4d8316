"""Errors of rendered tracks through the compiled kernel: value and gradient in one call. The plain twin is in `losses.tracks`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fourfold.kernels.devices import pointer
from fourfold.kernels.scored import scored
from fourfold.losses.base import TrackTargets

_ARRAYS = ("read", "poses", "intrinsics", "xy", "depth", "visible", "weight", "of_target")
_NUMBERS = ("smallest_alpha", "smallest_depth", "extent", "epsilon", "level")


class _CTargets(ctypes.Structure):
    _fields_ = [
        ("queries", ctypes.c_int64),
        ("targets", ctypes.c_int32),
        ("divide", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in _ARRAYS),
        *((name, ctypes.c_float) for name in _NUMBERS),
    ]


@dataclass(frozen=True)
class Rule:
    """What is compared, and how.

    Attributes:
        depths: disparities instead of pixels; divide: positions by the accumulated opacity.
        of_target: factor on the weight of each target time.
        smallest_alpha: accumulated opacity below which nothing is said; smallest_depth: before it depths are clamped, scene units.
        extent, epsilon: of disparities 1 / (depth / extent + epsilon).
        level: quantile above which errors are left out.
    """

    depths: bool
    divide: bool
    of_target: tuple[float, ...]
    smallest_alpha: float
    smallest_depth: float
    extent: float
    epsilon: float
    level: float


def track_error(library: ctypes.CDLL, read: Tensor, targets: TrackTargets, rule: Rule) -> Tensor:
    """The scalar trimmed weighted mean, in pixels or disparities, of what was `read` (P, 3 K + 1); the quantile is that of all errors."""
    poses = torch.stack([camera.world_to_camera for camera in targets.cameras]).to(torch.float32)
    intrinsics = torch.stack([camera.K for camera in targets.cameras]).to(torch.float32)
    factors = torch.tensor(rule.of_target, dtype=torch.float32)
    known = [t.contiguous() for t in (targets.xy, targets.depth, targets.visible, targets.weight)]

    def kernel(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> float:
        arrays = (inputs[0], poses, intrinsics, *known, factors)
        addresses = [None if rule.depths and name == "xy" else array.data_ptr() for name, array in zip(_ARRAYS, arrays, strict=True)]
        numbers = [getattr(rule, name) for name in _NUMBERS]
        call, value = _CTargets(*targets.weight.shape, int(rule.divide), *addresses, *numbers), ctypes.c_double()
        if library.ff_track_error(ctypes.byref(call), ctypes.byref(value), pointer(gradients[0])):
            raise MemoryError(f"no memory for the errors of {len(targets.pixels)} tracks")
        return value.value

    return scored(kernel, read)
