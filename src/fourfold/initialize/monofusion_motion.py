"""Motion bases of groups of points, and how each point uses them: spec monofusion.md section 5.

Trajectories start as identity (the paper), or carry each group along the velocities of the clouds of all cameras.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree
from torch import Tensor

from fourfold.geometry.alignment import procrustes
from fourfold.geometry.rotations import matrix_to_rotation6d
from fourfold.priors.contracts import Clouds
from fourfold.priors.features.motion_groups import Groups

Points = NDArray[np.float64]


@dataclass(frozen=True)
class FollowNumbers:
    """How points are carried along.

    Attributes:
        neighbours: points of a cloud whose velocities are averaged.
        reach: a carried point farther than this many spacings from the next cloud is pulled towards it.
        pull: by this share of the way.
        rigid: share of the group's common rigid motion in each step.
    """

    neighbours: int = 4
    reach: float = 1.0
    pull: float = 0.5
    rigid: float = 0.5


def coefficient_logits(points: Points, centers: Points, temperature: float = 10.0, reach: float | None = None) -> NDArray[np.float32]:
    """(P, B) temperature * exp(-distance to the group's centre / reach); softmax gives the coefficients.

    Args:
        reach: scene units; None takes the median distance of a centre to its nearest other. The released code has 1 metre, with which
            forty groups on a few people all share alike.
    """
    distance = np.linalg.norm(points[:, None] - centers[None], axis=2)
    if reach is None:
        reach = centre_spacing(centers)
    return (temperature * np.exp(-distance / reach)).astype(np.float32)


def centre_spacing(centers: Points) -> float:
    """Median distance of a centre to its nearest other; 1 where there is only one."""
    if len(centers) < 2:
        return 1.0
    gap = np.linalg.norm(centers[:, None] - centers[None], axis=2) + np.diag(np.full(len(centers), np.inf))
    return max(float(np.median(gap.min(1))), 1e-9)


def identity_bases(groups: int, knots: int) -> dict[str, Tensor]:
    """`rotation6d` (B, K, 6) and `translation` (B, K, 3) of bases that do not move."""
    rotation = torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(groups, knots, 1)
    return {"rotation6d": rotation.contiguous(), "translation": torch.zeros(groups, knots, 3)}


def bases_of_paths(paths: Points, groups: Groups, start: int, pivot: Points) -> dict[str, Tensor]:
    """The rigid motion about `pivot` (3,) of each group that its points' `paths` (P, K, 3) follow best, from knot `start`."""
    knots = paths.shape[1]
    shared = identity_bases(len(groups.centers), knots)
    center = torch.from_numpy(pivot)
    for number in range(len(groups.centers)):
        mine = torch.from_numpy(paths[groups.label == number].transpose(1, 0, 2).copy())
        if mine.shape[1] < 3:
            continue
        motion = procrustes(mine[start].expand(knots, -1, -1), mine)
        rotation, shift = motion[:, :3, :3], motion[:, :3, 3]
        shared["rotation6d"][number] = matrix_to_rotation6d(rotation).float()
        shared["translation"][number] = (rotation @ center + shift - center).float()
    return shared


def followed_paths(
    points: Points, groups: Groups, clouds: Clouds, seconds: NDArray[np.float64], indices: NDArray[np.int64], start: int, numbers: FollowNumbers
) -> Points:
    """(P, K, 3) where `points`, at their place at knot `start`, go along the clouds' velocities.

    Args:
        seconds: (T,) of all moments; indices: (K,) moments of the knots.
    """
    paths = np.repeat(points[:, None], len(indices), axis=1).astype(np.float64)
    keys = np.unique(clouds.index)
    trees = {int(k): (KDTree(clouds.xyz[clouds.index == k]), np.flatnonzero(clouds.index == k)) for k in keys}
    for step in (1, -1):
        here = start
        while 0 <= here + step < len(indices):
            there = here + step
            gap = float(seconds[indices[there]] - seconds[indices[here]])
            near = trees[int(keys[np.abs(seconds[keys] - (seconds[indices[here]] + seconds[indices[there]]) / 2).argmin()])]
            moved = paths[:, here] + gap * _velocity(paths[:, here], near, clouds, numbers.neighbours)
            if int(indices[there]) in trees:
                moved = _pulled(moved, trees[int(indices[there])], clouds, numbers)
            paths[:, there] = _stiffened(paths[:, here], moved, groups, numbers.rigid)
            here = there
    return paths


def _velocity(points: Points, cloud: tuple[KDTree, NDArray[np.int64]], clouds: Clouds, neighbours: int) -> Points:
    tree, rows = cloud
    _, found = tree.query(points, k=min(neighbours, len(rows)))
    return clouds.velocity[rows[np.asarray(found).reshape(len(points), -1)]].astype(np.float64).mean(1)


def _pulled(points: Points, cloud: tuple[KDTree, NDArray[np.int64]], clouds: Clouds, numbers: FollowNumbers) -> Points:
    tree, rows = cloud
    distance, found = tree.query(points)
    far = distance > numbers.reach * clouds.spacing[rows[found]]
    goal = clouds.xyz[rows[found]].astype(np.float64)
    return np.where(far[:, None], points + numbers.pull * (goal - points), points)


def _stiffened(before: Points, after: Points, groups: Groups, share: float) -> Points:
    result = after.copy()
    for number in range(len(groups.centers)):
        mine = groups.label == number
        if mine.sum() < 4:
            continue
        motion = procrustes(torch.from_numpy(before[mine]), torch.from_numpy(after[mine])).numpy()
        result[mine] += share * (before[mine] @ motion[:3, :3].T + motion[:3, 3] - after[mine])
    return result
