"""How well moved points follow tracks, how jerkily, and how much along the camera's rays (spec shape_of_motion.md section 5)."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourfold.kernels.devices import compiled, pointer


@dataclass(frozen=True)
class Followed:
    """The tracks that points are to follow over K moments, and the camera, in one unit of length.

    Attributes:
        target: (K, P, 3) places of the tracks; weight: (K, P) how much each counts.
        camera: (K, 3) camera centres.
    """

    target: Tensor
    weight: Tensor
    camera: Tensor


def path_loss(moved: Tensor, followed: Followed, jerk: float, ray: float) -> tuple[Tensor, float]:
    """Mean distance of points to their tracks, `jerk` times the mean norm of their second differences in time and `ray` times the mean square of
    their steps along the ray before and the one after; and the mean distance alone.

    Args:
        moved: (K, P, 3) places of the points.
    """
    tensors = (followed.target, followed.weight, followed.camera)
    library = compiled(moved, *tensors)
    if library is None or moved.numel() == 0:
        return path_loss_reference(moved, followed, jerk, ray)
    moments, points = moved.shape[:2]
    total = float(followed.weight.sum().clamp_min(1e-8))
    factors = (1 / (3 * total), jerk / (points * max(moments - 2, 1)), ray / (points * max(moments - 1, 1)))
    data: list[float] = []
    return _PathLoss.apply(moved, library, factors, data, *tensors), data[0]  # type: ignore[return-value]


def path_loss_reference(moved: Tensor, followed: Followed, jerk: float, ray: float) -> tuple[Tensor, float]:
    """The plain twin of `path_loss`, for any device and dtype."""
    weight = followed.weight
    data = ((moved - followed.target).abs().mean(-1) * weight).sum() / weight.sum().clamp_min(1e-8)
    loss = data
    if len(moved) >= 3:
        loss = loss + jerk * mean_jerk(moved, 0)
    if len(moved) >= 2:
        rays = torch.nn.functional.normalize(moved - followed.camera[:, None], dim=-1)
        step = moved[1:] - moved[:-1]
        loss = loss + ray * ((step * rays[1:]).sum(-1).square().mean() + (step * rays[:-1]).sum(-1).square().mean())
    return loss, float(data.detach())


def mean_jerk(values: Tensor, dim: int) -> Tensor:
    """Mean norm of the second difference along `dim`."""
    return values.diff(n=2, dim=dim).norm(dim=-1).mean()


class _PathLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, moved: Tensor, library: ctypes.CDLL, factors: tuple[float, float, float], data: list[float], *tensors: Tensor) -> Tensor:
        moved, gradient = moved.contiguous(), torch.empty_like(moved, memory_format=torch.contiguous_format)
        sizes, values = (ctypes.c_int64 * 2)(moved.shape[1], moved.shape[0]), (ctypes.c_double * 2)()
        held = [moved, *(tensor.contiguous() for tensor in tensors)]
        if library.ff_path_loss(*map(pointer, held), sizes, (ctypes.c_float * 3)(*factors), values, pointer(gradient)):
            raise MemoryError(f"no memory to compare {moved.shape[1]} paths")
        ctx.save_for_backward(gradient)
        data.append(values[0])
        return moved.new_tensor(values[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,) = ctx.saved_tensors
        return gradient * grad_outputs[0], None, None, None, None, None, None
