"""As-rigid-as-possible energies of a motion scaffold (spec mosca.md section 6).

`rigidity` runs in the compiled kernel; its plain twin in torch is `rigidity_reference`, which also serves other devices and dtypes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from torch import Tensor

from fourfold.geometry.rotations import quat_conjugate, quat_rotate
from fourfold.kernels.devices import compiled, pointer
from fourfold.kernels.scored import scored
from fourfold.scene.scaffold_nodes import TINY, Topology


def rigidity(
    xyz: Tensor, quat: Tensor, topology: Topology, shifts: tuple[int, ...], weights: tuple[float, ...], terms: tuple[float, float]
) -> Tensor:
    """Scalar `terms`[0] times the mean change of local coordinates plus `terms`[1] times that of their lengths, over the given shifts in time.

    Norms, not squares; every node's believed edges weigh alike. Mean over moments and nodes (sum them for the geometric stage).

    Args:
        xyz: (K, M, 3); quat: (K, M, 4), unit length; shifts in knots, those beyond the clip are left out.
    """
    share = topology.valid[:, 1:].to(xyz.dtype)
    share = share / share.sum(1, keepdim=True).clamp_min(1)
    near = topology.near[:, 1:]
    used = [(shift, weight) for shift, weight in zip(shifts, weights, strict=True) if shift < len(xyz)]
    library = compiled(xyz, quat) if used and near.numel() else None
    if library is None:
        return rigidity_reference(xyz, quat, near, share, used, terms)
    moments, nodes = xyz.shape[:2]
    near, sizes, steps = near.contiguous(), (ctypes.c_int64 * 4)(moments, nodes, near.shape[1], len(used)), (ctypes.c_int64 * len(used))(*dict(used))
    of_mean = (ctypes.c_float * len(used))(*(weight / ((moments - shift) * nodes) for shift, weight in used))

    def kernel(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> float:
        value, of = ctypes.c_double(), (ctypes.c_float * 2)(*terms)
        arrays = (*map(pointer, inputs), pointer(near), pointer(share))
        if library.ff_rigidity(*arrays, steps, of_mean, sizes, of, ctypes.byref(value), *map(pointer, gradients)):
            raise MemoryError(f"no memory for the rigidity of {nodes} nodes")
        return value.value

    return scored(kernel, xyz, quat)


def local_coordinates(xyz: Tensor, quat: Tensor, near: Tensor) -> Tensor:
    """(K, M, J, 3) each node in the frames of its neighbours `near` (M, J): R_k^T (x_i - x_k). `quat` of unit length."""
    frame = quat_conjugate(quat[:, near])
    return quat_rotate(frame, xyz[:, :, None] - xyz[:, near])


def rigidity_reference(xyz: Tensor, quat: Tensor, near: Tensor, share: Tensor, shifts: list[tuple[int, float]], terms: tuple[float, float]) -> Tensor:
    """The plain twin: neighbours `near` (M, J) count with `share` (M, J); `shifts` are pairs of a shift below K and its weight."""
    local = local_coordinates(xyz, quat, near)
    length = (local.square().sum(-1) + TINY).sqrt()
    coordinate, distance = xyz.new_zeros(()), xyz.new_zeros(())
    for shift, weight in shifts:
        moved = ((local[shift:] - local[:-shift]).square().sum(-1) + TINY).sqrt()
        coordinate = coordinate + weight * (share * moved).sum(-1).mean()
        distance = distance + weight * (share * (length[shift:] - length[:-shift]).abs()).sum(-1).mean()
    return terms[0] * coordinate + terms[1] * distance
