"""The nodes of a motion scaffold: where they are at a time, who is whose neighbour, and how stiffly they hang together.

Source: spec mosca.md sections 5 and 6. Nodes are rigid frames (position and rotation) at K knots; all functions are differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fourfold.geometry.dual_quaternions import dual_quat_from_parts
from fourfold.geometry.interpolation import cubic_matrix
from fourfold.geometry.rotations import quat_conjugate, quat_multiply, quat_normalize, quat_rotate
from fourfold.scene.scene import Layer

TINY = 1e-12
"""Keeps the gradient of a norm finite at zero."""


@dataclass(frozen=True)
class Topology:
    """Neighbours of M nodes: near (M, K) int64, the node itself first, and valid (M, K) bool, where an edge is believed."""

    near: Tensor
    valid: Tensor


def node_poses(layer: Layer, times: Tensor) -> tuple[Tensor, Tensor]:
    """Positions (Q, M, 3) and unit quaternions (Q, M, 4) of the nodes of `layer` at `times` (Q,), seconds: cubic between knots."""
    weights = cubic_matrix(layer.fixed["knots"], times).to(layer.shared["node_xyz"].dtype)
    xyz = torch.einsum("qk,kmc->qmc", weights, layer.shared["node_xyz"])
    return xyz, quat_normalize(torch.einsum("qk,kmc->qmc", weights, layer.shared["node_quat"]))


def relative_motions(now: tuple[Tensor, Tensor], then: tuple[Tensor, Tensor]) -> Tensor:
    """(Q, R, M, 8) dual quaternions of the motions of nodes from poses `then` (R, M, 3), (R, M, 4) to poses `now` (Q, M, 3), (Q, M, 4)."""
    turn = quat_multiply(now[1][:, None], quat_conjugate(then[1])[None])
    return dual_quat_from_parts(turn, now[0][:, None] - quat_rotate(turn, then[0][None].expand(*turn.shape[:3], 3)))


def curve_distance(xyz: Tensor, known: Tensor | None = None, largest: int = 3, frames: int = 100, others: Tensor | None = None) -> Tensor:
    """(M, N) how far two curves are apart: the `largest`-th largest distance over at most `frames` moments at which both are known.

    With few common moments the rank shrinks in proportion (spec mosca.md section 5); curves without one are infinitely far apart
    (the released code gives them distance 0 and patches that afterwards).

    Args:
        xyz: (K, M, 3); known: (K, M) bool or None for everywhere; others: columns to compare with, (N,) int64, or None for all M.
    """
    step = max(1, -(-xyz.shape[0] // frames))
    curves = xyz[::step]
    seen = torch.ones_like(curves[..., 0], dtype=torch.bool) if known is None else known[::step]
    columns = torch.arange(xyz.shape[1], device=xyz.device) if others is None else others
    both = seen[:, :, None] & seen[:, None, columns]
    apart = (curves[:, :, None] - curves[:, None, columns]).square().sum(-1)
    rank = min(largest, len(curves))
    top = torch.where(both, apart, torch.full_like(apart, -1.0)).topk(rank, dim=0).values
    count = both.sum(0)
    place = (-(-rank * count // len(curves)) - 1).clamp_min(0)
    chosen = top.gather(0, place[None]).squeeze(0)
    return torch.where(count > 0, chosen.clamp_min(0).sqrt(), torch.full_like(chosen, torch.inf))


def topology_of(distance: Tensor, neighbours: int, limit: float) -> Topology:
    """The node itself and its `neighbours` - 1 nearest by curve distance (M, M); an edge longer than `limit` is not believed."""
    count = min(neighbours, distance.shape[0])
    ordered = distance.clone()
    ordered.fill_diagonal_(-1.0)  # first of its own row
    length, near = ordered.topk(count, dim=1, largest=False)
    return Topology(near, length < limit)


def local_coordinates(xyz: Tensor, quat: Tensor, near: Tensor) -> Tensor:
    """(K, M, J, 3) each node in the frames of its neighbours `near` (M, J): R_k^T (x_i - x_k). `quat` of unit length."""
    frame = quat_conjugate(quat[:, near])
    return quat_rotate(frame, xyz[:, :, None] - xyz[:, near])


def rigidity(xyz: Tensor, quat: Tensor, topology: Topology, shifts: tuple[int, ...], weights: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """As-rigid-as-possible energies: mean change of local coordinates, and of their lengths, over the given shifts in time.

    Norms, not squares; every node's believed edges weigh alike. Mean over moments and nodes (sum them for the geometric stage).

    Args:
        xyz: (K, M, 3); quat: (K, M, 4), unit length; shifts in knots, those beyond the clip are left out.
    """
    share = topology.valid[:, 1:].to(xyz.dtype)
    share = share / share.sum(1, keepdim=True).clamp_min(1)
    local = local_coordinates(xyz, quat, topology.near[:, 1:])
    length = (local.square().sum(-1) + TINY).sqrt()
    coordinate, distance = xyz.new_zeros(()), xyz.new_zeros(())
    for shift, weight in zip(shifts, weights, strict=True):
        if shift >= len(xyz):
            continue
        moved = ((local[shift:] - local[:-shift]).square().sum(-1) + TINY).sqrt()
        coordinate = coordinate + weight * (share * moved).sum(-1).mean()
        distance = distance + weight * (share * (length[shift:] - length[:-shift]).abs()).sum(-1).mean()
    return coordinate, distance


def velocities(xyz: Tensor, quat: Tensor) -> tuple[Tensor, Tensor]:
    """(K - 1, M) lengths of the steps between knots, and the angles turned meanwhile, radians."""
    step = (xyz.diff(dim=0).square().sum(-1) + TINY).sqrt()
    turn = quat_multiply(quat[1:], quat_conjugate(quat[:-1]))
    return step, 2 * torch.atan2((turn[..., 1:].square().sum(-1) + TINY).sqrt(), turn[..., 0].abs())


def accelerations(xyz: Tensor, quat: Tensor) -> tuple[Tensor, Tensor]:
    """(K - 2, M) norms of the second differences, and changes of the angle per step, radians."""
    bend = xyz[2:] - 2 * xyz[1:-1] + xyz[:-2]
    return (bend.square().sum(-1) + TINY).sqrt(), velocities(xyz, quat)[1].diff(dim=0).abs()
