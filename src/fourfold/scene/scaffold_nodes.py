"""The nodes of a motion scaffold: where they are at a time, how they move, and who is whose neighbour.

Source: spec mosca.md sections 5 and 6; stiffness is in `scene.rigidity`. Nodes are rigid frames (position and rotation) at K knots; all functions
are differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fourfold.geometry.interpolation import cubic_matrix
from fourfold.geometry.rotations import quat_conjugate, quat_multiply, quat_normalize
from fourfold.scene.between_knots import between_knots
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
    xyz, quat = raw_poses(layer, times)
    return xyz, quat_normalize(quat)


def raw_poses(layer: Layer, times: Tensor) -> tuple[Tensor, Tensor]:
    """`node_poses` with quaternions of any length."""
    weights = cubic_matrix(layer.fixed["knots"], times)
    xyz, quat = (between_knots(weights, layer.shared[name].flatten(1)[None])[:, 0] for name in ("node_xyz", "node_quat"))
    return xyz.unflatten(1, (-1, 3)), quat.unflatten(1, (-1, 4))


def curve_distance(xyz: Tensor, known: Tensor | None = None, largest: int = 3, frames: int = 100, others: Tensor | None = None) -> Tensor:
    """(M, N) how far two curves are apart: the `largest`-th largest distance over at most `frames` moments at which both are known.

    With few common moments the rank shrinks in proportion (spec mosca.md section 5); curves without one are infinitely far apart
    (the released code gives them distance 0 and patches that afterwards).

    Args:
        xyz: (K, M, 3); known: (K, M) bool or None for everywhere; others: columns to compare with, (N,) int64, or None for all M.
    """
    step = max(1, -(-xyz.shape[0] // frames))
    curves = xyz[::step].movedim(2, 1)
    seen = None if known is None else known[::step]
    columns = slice(None) if others is None else others
    rank = min(largest, len(curves))
    size = (xyz.shape[1], curves[0][:, columns].shape[1])
    top = [xyz.new_full(size, -1.0) for _ in range(rank)]  # the largest so far, in falling order: memory does not grow with the moments
    for moment, points in enumerate(curves):
        x, y, z = (axis[:, None] - axis[columns][None] for axis in points)
        apart = x.square() + y.square() + z.square()
        if seen is not None:
            apart = torch.where(seen[moment][:, None] & seen[moment][columns][None], apart, -1.0)
        for place in range(rank):
            top[place], apart = torch.maximum(top[place], apart), torch.minimum(top[place], apart)
    if seen is None:
        return top[rank - 1].sqrt()
    counted = seen.to(xyz.dtype)
    count = (counted.T @ counted[:, columns]).round().long()
    place = (-(-rank * count // len(curves)) - 1).clamp_min(0)
    chosen = torch.stack(top).gather(0, place[None]).squeeze(0)
    return torch.where(count > 0, chosen.clamp_min(0).sqrt(), torch.full_like(chosen, torch.inf))


def topology_of(distance: Tensor, neighbours: int, limit: float) -> Topology:
    """The node itself and its `neighbours` - 1 nearest by curve distance (M, M); an edge longer than `limit` is not believed."""
    count = min(neighbours, distance.shape[0])
    ordered = distance.clone()
    ordered.fill_diagonal_(-1.0)  # first of its own row
    length, near = ordered.topk(count, dim=1, largest=False)
    return Topology(near, length < limit)


def velocities(xyz: Tensor, quat: Tensor) -> tuple[Tensor, Tensor]:
    """(K - 1, M) lengths of the steps between knots, and the angles turned meanwhile, radians."""
    step = (xyz.diff(dim=0).square().sum(-1) + TINY).sqrt()
    turn = quat_multiply(quat[1:], quat_conjugate(quat[:-1]))
    return step, 2 * torch.atan2((turn[..., 1:].square().sum(-1) + TINY).sqrt(), turn[..., 0].abs())


def accelerations(xyz: Tensor, spin: Tensor) -> tuple[Tensor, Tensor]:
    """(K - 2, M) norms of the second differences of `xyz` (K, M, 3), and changes per step of the angles `spin` (K - 1, M) of `velocities`."""
    bend = xyz[2:] - 2 * xyz[1:-1] + xyz[:-2]
    return (bend.square().sum(-1) + TINY).sqrt(), spin.diff(dim=0).abs()
