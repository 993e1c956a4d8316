"""As-rigid-as-possible energies of a motion scaffold (spec mosca.md section 6).

`rigidity` runs in the compiled kernel; its plain twin in torch is `rigidity_reference`, which also serves other devices and dtypes.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourfold.geometry.rotations import quat_conjugate, quat_rotate
from fourfold.kernels.devices import compiled, pointer
from fourfold.scene.scaffold_nodes import TINY, Topology


def rigidity(xyz: Tensor, quat: Tensor, topology: Topology, shifts: tuple[int, ...], weights: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """As-rigid-as-possible energies: mean change of local coordinates, and of their lengths, over the given shifts in time.

    Norms, not squares; every node's believed edges weigh alike. Mean over moments and nodes (sum them for the geometric stage).

    Args:
        xyz: (K, M, 3); quat: (K, M, 4), unit length; shifts in knots, those beyond the clip are left out.
    """
    share = topology.valid[:, 1:].to(xyz.dtype)
    share = share / share.sum(1, keepdim=True).clamp_min(1)
    near = topology.near[:, 1:]
    used = [(shift, weight) for shift, weight in zip(shifts, weights, strict=True) if shift < len(xyz)]
    library = compiled(xyz, quat) if used and near.numel() else None
    if library is None or not hasattr(library, "ff_rigidity_forward"):
        return rigidity_reference(xyz, quat, near, share, used)
    return _Rigidity.apply(library, tuple(used), near.contiguous(), share, xyz.contiguous(), quat.contiguous())  # type: ignore[no-any-return]


def local_coordinates(xyz: Tensor, quat: Tensor, near: Tensor) -> Tensor:
    """(K, M, J, 3) each node in the frames of its neighbours `near` (M, J): R_k^T (x_i - x_k). `quat` of unit length."""
    frame = quat_conjugate(quat[:, near])
    return quat_rotate(frame, xyz[:, :, None] - xyz[:, near])


def rigidity_reference(xyz: Tensor, quat: Tensor, near: Tensor, share: Tensor, shifts: list[tuple[int, float]]) -> tuple[Tensor, Tensor]:
    """The plain twin: neighbours `near` (M, J) count with `share` (M, J); `shifts` are pairs of a shift below K and its weight."""
    local = local_coordinates(xyz, quat, near)
    length = (local.square().sum(-1) + TINY).sqrt()
    coordinate, distance = xyz.new_zeros(()), xyz.new_zeros(())
    for shift, weight in shifts:
        moved = ((local[shift:] - local[:-shift]).square().sum(-1) + TINY).sqrt()
        coordinate = coordinate + weight * (share * moved).sum(-1).mean()
        distance = distance + weight * (share * (length[shift:] - length[:-shift]).abs()).sum(-1).mean()
    return coordinate, distance


class _Rigidity(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, library: ctypes.CDLL, shifts: tuple[tuple[int, float], ...], near: Tensor, share: Tensor, xyz: Tensor, quat: Tensor
    ) -> tuple[Tensor, Tensor]:
        energies = (ctypes.c_double * 2)()
        if library.ff_rigidity_forward(*_inputs(shifts, near, share, xyz, quat), energies):
            raise MemoryError(f"no memory for the rigidity of {xyz.shape[1]} nodes")
        ctx.save_for_backward(near, share, xyz, quat)
        ctx.library, ctx.shifts = library, shifts
        return xyz.new_tensor(energies[0]), xyz.new_tensor(energies[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        near, share, xyz, quat = ctx.saved_tensors
        by_xyz, by_quat = torch.empty_like(xyz), torch.empty_like(quat)
        of = (ctypes.c_float * 2)(*(float(g) for g in grad_outputs))
        if ctx.library.ff_rigidity_backward(*_inputs(ctx.shifts, near, share, xyz, quat), of, pointer(by_xyz), pointer(by_quat)):
            raise MemoryError(f"no memory for the gradient of the rigidity of {xyz.shape[1]} nodes")
        return None, None, None, None, by_xyz, by_quat


def _inputs(shifts: tuple[tuple[int, float], ...], near: Tensor, share: Tensor, xyz: Tensor, quat: Tensor) -> tuple[Any, ...]:
    """The arguments that both passes share; weights are those of a mean."""
    moments, nodes = xyz.shape[:2]
    sizes = (ctypes.c_int64 * 4)(moments, nodes, near.shape[1], len(shifts))
    steps = (ctypes.c_int64 * len(shifts))(*(shift for shift, _ in shifts))
    weights = (ctypes.c_float * len(shifts))(*(weight / ((moments - shift) * nodes) for shift, weight in shifts))
    return pointer(xyz), pointer(quat), pointer(near), pointer(share), steps, weights, sizes
