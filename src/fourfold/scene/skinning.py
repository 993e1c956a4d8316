"""Points carried by the nodes around them: blended dual quaternions (spec himor_4dgs360.md section 1).

`skin` runs in the compiled kernel, on a GPU in Triton's (`kernels/triton_skin.py`); its plain twin in torch is `skin_reference`, which also serves
other devices and dtypes.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourfold.geometry.dual_quaternions import dual_quat_to_parts
from fourfold.geometry.rotations import quat_multiply, quat_normalize, quat_rotate
from fourfold.kernels.devices import compiled, on_gpu, pointer
from fourfold.scene.parted import Groups, addresses

SHORT = 1e-16
"""Keeps motions that cancel each other finite."""
MOST_NODES = 16
"""Nodes per point that the kernel takes."""


def skin(
    dual_quats: Tensor, near: Tensor, weights: Tensor, means: Tensor, quat_wxyz: Tensor, turned: int, align: bool = True, resting: bool = False
) -> tuple[Tensor, Tensor]:
    """Positions (Q, N, 3) and unit quaternions (turned, N, 4) of points under the blended motions of their nodes.

    q and -q are the same motion: each neighbour's is turned to the half space of the first. `align` False leaves signs as they are.

    Args:
        dual_quats: (Q, M, 8) unit dual quaternions of the nodes, see `geometry.dual_quaternions`.
        near: (N, K) int64 nodes of each point, nearest first; weights: (N, K), sum 1.
        means: (N, 3); quat_wxyz: (N, 4), any length.
        turned: quaternions are computed for the first `turned` of the Q times.
        resting: nobody asks for the gradient of the last of the nodes.
    """
    groups = Groups((len(dual_quats),), (turned,))
    positions, quats = skin_groups(dual_quats, near, weights, means, quat_wxyz, groups, align, resting)
    return positions, quats


def skin_groups(
    dual_quats: Tensor, near: Tensor, weights: Tensor, means: Tensor, quat_wxyz: Tensor, groups: Groups, align: bool = True, resting: bool = False
) -> tuple[Tensor, ...]:
    """`skin` told in groups of times: positions (K, N, 3) of every group, then quaternions (K, N, 4) of every group that turns."""
    tensors, turned = (dual_quats, weights, means, quat_wxyz), groups.turned
    fits = len(means) > 0 and near.shape[1] <= MOST_NODES
    if fits and on_gpu(*tensors):
        return groups.split(*skin_on_gpu((turned, align, resting), near.contiguous(), *(t.contiguous() for t in tensors)))
    library = compiled(*tensors) if fits else None
    if library is None or not hasattr(library, "ff_skin_forward"):
        return groups.split(*skin_reference(dual_quats, near, weights, means, quat_wxyz, turned, align))
    sizes = (len(means), dual_quats.shape[1], near.shape[1], len(dual_quats), turned, int(align))
    given = (dual_quats, weights, means, quat_normalize(quat_wxyz))
    return _Skin.apply(library, sizes, groups, near.contiguous(), *(t.contiguous() for t in given))  # type: ignore[no-any-return]


def skin_on_gpu(how: tuple[int, bool, bool], near: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    """`skin` by the Triton kernels, on its tensors: contiguous, float32, of a GPU; `how` are turned, align and resting."""
    from fourfold.kernels.triton_skin import Carried, SkinOnGpu

    return SkinOnGpu.apply(Carried(*how), near, *tensors)  # type: ignore[no-any-return]


def skin_reference(
    dual_quats: Tensor, near: Tensor, weights: Tensor, means: Tensor, quat_wxyz: Tensor, turned: int, align: bool = True
) -> tuple[Tensor, Tensor]:
    """The plain twin of `skin`."""
    return carry(blend_nodes(dual_quats, near, weights, align), means, quat_wxyz, turned)


def carry(blended: Tensor, means: Tensor, quat_wxyz: Tensor, turned: int) -> tuple[Tensor, Tensor]:
    """Positions (Q, N, 3) and unit quaternions (turned, N, 4) of points (N, 3), (N, 4) under `blended` (Q, N, 8) motions."""
    blended = blended + SHORT * (blended.detach()[..., :4].abs().amax(-1, keepdim=True) == 0)
    quat, translation = dual_quat_to_parts(blended)
    return quat_rotate(quat, means) + translation, quat_multiply(quat[:turned], quat_normalize(quat_wxyz))


def blend_nodes(dual_quats: Tensor, near: Tensor, weights: Tensor, align: bool = True) -> Tensor:
    """(Q, N, 8) blended motions, not yet normalised; arguments as in `skin`."""
    first = dual_quats.index_select(1, near[:, 0])
    blended = weights[:, 0, None] * first
    for k in range(1, near.shape[1]):
        other = dual_quats.index_select(1, near[:, k])
        weight = weights[:, k, None]
        if align:
            weight = weight * _sign(first, other)[..., None]
        blended = blended + weight * other
    return blended


@torch.no_grad()
def _sign(first: Tensor, other: Tensor) -> Tensor:
    return torch.where((first[..., :4] * other[..., :4]).sum(-1) < 0, -1.0, 1.0).to(other.dtype)


class _Skin(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, library: ctypes.CDLL, sizes: tuple[int, ...], groups: Groups, near: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        positions, quats = groups.room(tensors[2])
        out = addresses(positions, groups.places)[0], addresses(quats, groups.turns)[0]
        if library.ff_skin_forward(*_inputs(near, tensors, sizes), *out):
            raise MemoryError(f"no memory to move {sizes[0]} points to {sizes[3]} times")
        ctx.save_for_backward(near, *tensors)
        ctx.library, ctx.sizes, ctx.groups = library, sizes, groups
        ctx.set_materialize_grads(False)
        return *positions, *quats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        near, *tensors = ctx.saved_tensors
        places = len(ctx.groups.places)
        of_positions, kept = addresses(grad_outputs[:places], ctx.groups.places)
        of_quats, also = addresses(grad_outputs[places:], ctx.groups.turns)
        results = [torch.empty_like(t) for t in tensors]
        by = (ctypes.c_void_p * 4)(*(t.data_ptr() for t in results))
        if ctx.library.ff_skin_backward(*_inputs(near, tensors, ctx.sizes), of_positions, of_quats, by):
            raise MemoryError(f"no memory for the gradient of {ctx.sizes[0]} moved points")
        del kept, also  # the kernel has read them
        return None, None, None, None, *results


def _inputs(near: Tensor, tensors: Any, sizes: tuple[int, ...]) -> tuple[Any, ...]:
    table, weights, means, quat = map(pointer, tensors)
    return table, pointer(near), weights, means, quat, (ctypes.c_int64 * 6)(*sizes)
