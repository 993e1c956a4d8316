"""The geometric stage: hidden moments of the nodes are found by rigidity and smoothness before any image is looked at. Spec mosca.md section 7."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fourfold.geometry.rotations import quat_normalize
from fourfold.initialize.scaffold_nodes import Nodes
from fourfold.scene.rigidity import rigidity
from fourfold.scene.scaffold_nodes import Topology, accelerations, curve_distance, velocities


@dataclass(frozen=True)
class Level:
    """A coarser graph: nodes are linked to `neighbours` of a subset with the spacing `factor` u; its energy counts `weight` times."""

    factor: float
    neighbours: int
    weight: float


@dataclass(frozen=True)
class GeometryNumbers:
    """Numbers of the stage; lengths in depth units, sums over moments and nodes, as in the released code.

    Attributes:
        steps: of Adam (1500 on a GPU; here hidden moments start where their neighbours carried them).
        rate: of positions and rotations, falling to a thirtieth.
        coordinate, length: weights of the two rigidities; acceleration, turn_acceleration, velocity, turn_velocity: of smoothness.
        shifts, shift_weights: in knots.
        levels: coarser graphs (spec section 5; the finest is the topology itself).
    """

    steps: int = 150
    rate: float = 0.03
    coordinate: float = 1.0
    length: float = 1.0
    acceleration: float = 0.3
    turn_acceleration: float = 0.1
    velocity: float = 0.3
    turn_velocity: float = 0.1
    shifts: tuple[int, ...] = (2, 8, 16)
    shift_weights: tuple[float, ...] = (0.6, 0.4, 0.3)
    levels: tuple[Level, ...] = (Level(7.0, 8, 0.3), Level(15.0, 8, 0.3))


def settle_nodes(nodes: Nodes, depth_unit: float, numbers: GeometryNumbers = GeometryNumbers()) -> Nodes:
    """The nodes with their uncertain positions and all rotations optimised; certain positions stay exactly."""
    if numbers.steps == 0 or len(nodes.xyz) < 3:
        return nodes
    start = nodes.xyz / depth_unit
    xyz, quat = start.clone().requires_grad_(), nodes.quat.clone().requires_grad_()
    free = ~nodes.certain[..., None]
    optimizer = torch.optim.Adam([xyz, quat], lr=numbers.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, numbers.steps, numbers.rate / 30)
    graphs = [(nodes.topology, 1.0), *coarser(nodes, numbers.levels)]
    for _ in range(numbers.steps):
        optimizer.zero_grad()
        energy(xyz, quat, graphs, numbers).backward()
        if xyz.grad is not None:
            xyz.grad.mul_(free)
        optimizer.step()
        schedule.step()
    settled = torch.where(free, xyz.detach() * depth_unit, nodes.xyz)
    return replace(nodes, xyz=settled, quat=quat_normalize(quat.detach()))


def energy(xyz: Tensor, quat: Tensor, graphs: list[tuple[Topology, float]], numbers: GeometryNumbers) -> Tensor:
    """The sum that the stage minimises, () . xyz (K, M, 3) depth units, quat (K, M, 4) of any length."""
    unit = quat_normalize(quat)
    total = xyz.new_zeros(())
    nodes = xyz.shape[1]
    for topology, weight in graphs:
        stiff = rigidity(xyz, unit, topology, numbers.shifts, numbers.shift_weights, (numbers.coordinate, numbers.length))
        total = total + weight * len(xyz) * nodes * stiff
    speed, spin = velocities(xyz, unit)
    bend, twist = accelerations(xyz, spin)
    smooth = numbers.velocity * speed.sum() + numbers.turn_velocity * spin.sum()
    return total + smooth + numbers.acceleration * bend.sum() + numbers.turn_acceleration * twist.sum()


def coarser(nodes: Nodes, levels: tuple[Level, ...]) -> list[tuple[Topology, float]]:
    """The graphs of `levels`: every node linked to its nearest of every so many-th node, in the order in which nodes were thinned."""
    graphs: list[tuple[Topology, float]] = []
    count = nodes.xyz.shape[1]
    for level in levels:
        wanted = max(4, min(count, math.ceil(count / level.factor**1.5)))
        subset = torch.linspace(0, count - 1, wanted).round().long().unique()
        distance = curve_distance(nodes.xyz, others=subset)
        near = min(level.neighbours, len(subset))
        length, index = distance.topk(near, dim=1, largest=False)
        own = torch.arange(count)[:, None]
        valid = (length < 5 * level.factor * nodes.unit) & (subset[index] != own)
        graphs.append((Topology(torch.cat([own, subset[index]], 1), torch.cat([torch.ones_like(own, dtype=torch.bool), valid], 1)), level.weight))
    return graphs
