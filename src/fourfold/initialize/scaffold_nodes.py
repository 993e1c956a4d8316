"""Nodes of a motion scaffold from curves: thinned by curve distance, linked, and turned with their neighbours. Spec mosca.md section 5."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fourfold.geometry.alignment import procrustes
from fourfold.geometry.rotations import matrix_to_quat, quat_multiply
from fourfold.initialize.scaffold_curves import Curves
from fourfold.scene.scaffold_nodes import Topology, curve_distance, topology_of


@dataclass(frozen=True)
class NodeNumbers:
    """Numbers of the nodes; lengths in units of the spatial unit u.

    Attributes:
        unit: u in depth units (MoSca: 0.02; 0.01 for the NVIDIA clips).
        most: nodes; u grows until no more are needed (MoSca's 16384 are for a GPU).
        fewest: nodes; below, u shrinks.
        neighbours: of the topology, the node itself among them; reach: longest edge.
        radius, largest_radius: of a node's influence at the start and at most.
        rank: the curve distance is the rank-th largest distance in time.
    """

    unit: float = 0.02
    most: int = 700
    fewest: int = 32
    neighbours: int = 12
    reach: float = 5.0
    radius: float = 5.0
    largest_radius: float = 10.0
    rank: int = 3


@dataclass(frozen=True)
class Nodes:
    """M nodes: xyz (K, M, 3) scene units, quat (K, M, 4) wxyz, certain (K, M) bool, their topology, and the spatial unit u, scene units."""

    xyz: Tensor
    quat: Tensor
    certain: Tensor
    topology: Topology
    unit: float


def nodes_from_curves(curves: Curves, depth_unit: float, numbers: NodeNumbers = NodeNumbers()) -> Nodes:
    """Thin the curves to nodes and link them."""
    unit = numbers.unit * depth_unit
    order = np.argsort(-curves.certain.sum(axis=1), kind="stable")
    xyz = torch.from_numpy(curves.xyz[order]).float().transpose(0, 1).contiguous()
    rows = thinned(xyz, unit, numbers.rank)
    while len(rows) > numbers.most:
        unit *= 1.1
        rows = rows[thinned(xyz[:, rows], unit, numbers.rank)]
    while len(rows) < min(numbers.fewest, xyz.shape[1]) and unit > 1e-3 * numbers.unit * depth_unit:
        unit /= 1.3
        rows = thinned(xyz, unit, numbers.rank)
    chosen = xyz[:, rows].contiguous()
    topology = topology_of(curve_distance(chosen, largest=numbers.rank), numbers.neighbours, numbers.reach * unit)
    certain = torch.from_numpy(curves.certain[order]).T[:, rows].contiguous()
    return Nodes(chosen, turned_with_neighbours(chosen, topology), certain, topology, unit)


def thinned(xyz: Tensor, unit: float, rank: int = 3) -> Tensor:
    """Rows of curves (K, P, 3), in order, each farther than `unit` from all rows before it that were taken."""
    taken: list[int] = []
    left = torch.ones(xyz.shape[1], dtype=torch.bool)
    for row in range(xyz.shape[1]):
        if not bool(left[row]):
            continue
        taken.append(row)
        after = torch.arange(row + 1, xyz.shape[1])
        after = after[left[after]]
        if len(after):
            left[after[curve_distance(xyz[:, torch.cat([torch.tensor([row]), after])], largest=rank, others=torch.tensor([0]))[1:, 0] <= unit]] = (
                False
            )
    return torch.tensor(taken, dtype=torch.int64)


def turned_with_neighbours(xyz: Tensor, topology: Topology) -> Tensor:
    """(K, M, 4) rotations: none at the first knot, then the rigid motion of the believed neighbours from knot to knot, one on the other."""
    quats = [torch.zeros(xyz.shape[1], 4, dtype=xyz.dtype)]
    quats[0][:, 0] = 1.0
    around = xyz[:, topology.near]
    weight = topology.valid.to(xyz.dtype)
    enough = topology.valid.sum(1) >= 3
    for time in range(1, len(xyz)):
        motion = procrustes(around[time - 1].double(), around[time].double(), weight.double())
        step = matrix_to_quat(motion[:, :3, :3]).to(xyz.dtype)
        step = torch.where(step[:, :1] < 0, -step, step)
        step = torch.where(enough[:, None], step, quats[0])
        quats.append(quat_multiply(step, quats[-1]))
    return torch.stack(quats)
