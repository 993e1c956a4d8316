"""Points on blended rigid motions through the compiled kernel: values and gradients in one pass each, several times at once.

On a GPU through Triton's (`kernels/triton_blend.py`). The plain twin in torch is `blend_reference`; it also serves other devices and dtypes.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourfold.geometry.blended_motion import move_by_rotation6d
from fourfold.kernels.devices import compiled, on_gpu, pointer
from fourfold.scene.parted import Groups, addresses

MOST_BASES = 128
"""Bases that the kernel of GPUs takes."""


def blend(logits: Tensor, means: Tensor, quat_wxyz: Tensor, motions: Tensor, pivot: Tensor, turned: int) -> tuple[Tensor, Tensor]:
    """Move points by motions blended with their softmax weights: R (mean - pivot) + pivot + translation, and the quaternion of R times theirs.

    Args:
        logits: (N, B); means: (N, 3); quat_wxyz: (N, 4), any length; motions: (Q, B, 9), 6D rotation (spec shape_of_motion.md section 1)
            and translation; pivot: (3,), which gets no gradient.
        turned: quaternions are computed for the first `turned` of the Q times.

    Returns:
        (Q, N, 3) positions and (turned, N, 4) unit quaternions, each up to sign.
    """
    positions, quats = blend_groups(logits, means, quat_wxyz, motions, pivot, Groups((len(motions),), (turned,)))
    return positions, quats


def blend_groups(logits: Tensor, means: Tensor, quat_wxyz: Tensor, motions: Tensor, pivot: Tensor, groups: Groups) -> tuple[Tensor, ...]:
    """`blend` told in groups of times: positions (K, N, 3) of every group, then quaternions (K, N, 4) of every group that turns."""
    tensors = (logits, means, quat_wxyz, motions, pivot)
    fits = len(means) > 0 and not pivot.requires_grad
    if fits and logits.shape[1] <= MOST_BASES and on_gpu(*tensors):
        return groups.split(*blend_on_gpu(groups.turned, *(t.contiguous() for t in tensors)))
    library = compiled(*tensors) if fits else None
    if library is None:
        return groups.split(*blend_reference(logits, means, quat_wxyz, motions, pivot, groups.turned))
    return _Blend.apply(library, groups, *(t.contiguous() for t in tensors))  # type: ignore[no-any-return]


def blend_reference(logits: Tensor, means: Tensor, quat_wxyz: Tensor, motions: Tensor, pivot: Tensor, turned: int) -> tuple[Tensor, Tensor]:
    """The plain twin of `blend`, for any device and dtype."""
    weights = torch.softmax(logits.T.contiguous(), dim=0)  # (B, N): ten times faster than over the last dimension
    times = motions.shape[0]
    blended = (motions.permute(0, 2, 1).flatten(0, 1) @ weights).unflatten(0, (times, 9))
    quats = quat_wxyz.T.contiguous()
    quats = quats / quats.square().sum(0).sqrt().clamp_min(1e-12)
    moved, turns = move_by_rotation6d(blended[:, :6], blended[:, 6:] + pivot[:, None], (means - pivot).T, quats)
    return moved.transpose(1, 2).contiguous(), turns[:turned].transpose(1, 2).contiguous()


def blend_on_gpu(turned: int, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    """`blend` by the Triton kernels, on its tensors: contiguous, float32, of a GPU."""
    from fourfold.kernels.triton_blend import BlendOnGpu

    return BlendOnGpu.apply(turned, *tensors)  # type: ignore[no-any-return]


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, library: ctypes.CDLL, groups: Groups, *tensors: Tensor) -> tuple[Tensor, ...]:
        logits, means, _, motions, _ = tensors
        sizes = (ctypes.c_int64 * 4)(*logits.shape, len(motions), groups.turned)
        positions, quats = groups.room(means)
        if library.ff_blend_forward(*map(pointer, tensors), sizes, addresses(positions, groups.places)[0], addresses(quats, groups.turns)[0]):
            raise MemoryError(f"no memory to move {len(means)} points to {len(motions)} times")
        ctx.save_for_backward(*tensors)
        ctx.library, ctx.sizes, ctx.groups = library, sizes, groups
        ctx.set_materialize_grads(False)
        return *positions, *quats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        tensors, places = ctx.saved_tensors, len(ctx.groups.places)
        of_positions, kept = addresses(grad_outputs[:places], ctx.groups.places)
        of_quats, also = addresses(grad_outputs[places:], ctx.groups.turns)
        results = [torch.empty_like(t) for t in tensors[:4]]
        with_quat = ctx.sizes[3] > 0
        by = (ctypes.c_void_p * 4)(*(None if i == 2 and not with_quat else t.data_ptr() for i, t in enumerate(results)))
        if ctx.library.ff_blend_backward(*map(pointer, tensors), ctx.sizes, of_positions, of_quats, by):
            raise MemoryError(f"no memory for the gradient of {ctx.sizes[0]} moved points")
        del kept, also  # the kernel has read them
        return None, None, results[0], results[1], results[2] if with_quat else None, results[3], None
