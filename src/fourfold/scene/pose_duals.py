"""Poses as dual quaternions through the compiled kernel. The plain twin, `pose_duals_reference`, also serves other devices and dtypes."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourfold.geometry.dual_quaternions import dual_quat_from_parts
from fourfold.geometry.rotations import quat_normalize
from fourfold.kernels.devices import compiled, pointer


def pose_duals(quat_wxyz: Tensor, translation: Tensor) -> Tensor:
    """(..., 8) dual quaternions of x -> R(q) x + t, of quaternions (..., 4) of any length and translations (..., 3)."""
    library = compiled(quat_wxyz, translation)
    if library is None:
        return pose_duals_reference(quat_wxyz, translation)
    return _PoseDuals.apply(library, quat_wxyz.contiguous(), translation.contiguous())  # type: ignore[no-any-return]


def pose_duals_reference(quat_wxyz: Tensor, translation: Tensor) -> Tensor:
    """The plain twin of `pose_duals`."""
    return dual_quat_from_parts(quat_normalize(quat_wxyz), translation)


class _PoseDuals(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, library: ctypes.CDLL, quats: Tensor, shifts: Tensor) -> Tensor:
        duals = quats.new_empty(*quats.shape[:-1], 8)
        ctx.library, ctx.count = library, ctypes.c_int64(quats.numel() // 4)
        library.ff_pose_duals(pointer(quats), pointer(shifts), ctx.count, pointer(duals))
        ctx.save_for_backward(quats, shifts)
        return duals

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        quats, shifts = ctx.saved_tensors
        of, by = grad_outputs[0].contiguous(), (torch.empty_like(quats), torch.empty_like(shifts))
        ctx.library.ff_pose_duals_backward(pointer(quats), pointer(shifts), ctx.count, pointer(of), *map(pointer, by))
        return None, *by
