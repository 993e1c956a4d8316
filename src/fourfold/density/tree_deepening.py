"""The second level of a motion tree: what Gaussians around a root node do beyond it becomes bases and children of that node.

Source: spec himor_4dgs360.md section 3, "Deepen".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from torch import Tensor

from fourfold.geometry.dual_quaternions import dual_quat_blend, dual_quat_from_rigid, dual_quat_to_rigid
from fourfold.geometry.rigid import apply_rigid, inverse, make_rigid
from fourfold.geometry.rotations import matrix_to_rotation6d, quat_to_matrix
from fourfold.scene.motion.motion_tree import MotionTree
from fourfold.scene.scene import Layer
from fourfold.scene.tree_levels import TreeLevel, node_motions
from fourfold.scene.tree_nodes import log_radii, released_log_radii


@dataclass(frozen=True)
class DeepenNumbers:
    """How the second level starts.

    Attributes:
        children, bases: per root node (10 and 5 released).
        looked_at: Gaussians around a root node that are looked at (1000 released).
        blended: Gaussians nearest to a cluster's middle whose motion a basis starts with.
        temperature: logits are this times exp(-distance to the cluster's middle in units of the cluster's spread).
        fewest: a root node with fewer Gaussians around gets no child and goes.
    """

    children: int = 10
    bases: int = 5
    looked_at: int = 200
    blended: int = 10
    temperature: float = 10.0
    fewest: int = 5


@dataclass(frozen=True)
class _Branch:
    """One root node's children: means (C, 3), logits (C, B), bases as rigid motions (B, K, 4, 4) after the parent's."""

    means: Tensor
    logits: Tensor
    bases: Tensor


def deepened(layer: Layer, root: TreeLevel, numbers: DeepenNumbers, random: np.random.Generator) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The layer's shared and fixed tensors of both levels, the root being `root`.

    Empty if no root node has Gaussians enough around it; then the tree stays as it is.
    """
    motion = layer.motion
    parity = isinstance(motion, MotionTree) and motion.parity
    knots = layer.fixed["knots"]
    shared, fixed = root.named(0)
    pruned = replace(layer, shared=layer.shared | shared, fixed=layer.fixed | fixed)
    motions = node_motions(pruned, knots, 1)[0]
    own = make_rigid(quat_to_matrix(motions.quat), motions.shift)
    branches = [_branch(layer, root, own[:, node], node, numbers, random) for node in range(len(root.means))]
    alive = [node for node, branch in enumerate(branches) if branch is not None]
    if not alive:
        return {}, {}
    grown = [branch for branch in branches if branch is not None]
    rows = torch.tensor(alive, device=root.means.device)
    kept = replace(root, **{name: getattr(root, name)[rows] for name in ("means", "log_radius", "logits", "parent")})
    parent = torch.cat([torch.full((len(b.means),), i, dtype=torch.int64, device=rows.device) for i, b in enumerate(grown)])
    means, bases = torch.cat([b.means for b in grown]), torch.stack([b.bases for b in grown])
    centre = apply_rigid(own[:, rows], kept.means).transpose(0, 1)[:, None]  # (P, 1, K, 3): a child turns about where its parent is
    shift = apply_rigid(bases, centre.expand(*bases.shape[:3], 3)) - centre
    radii = released_log_radii(means) if parity else log_radii(means)
    child = TreeLevel(means, radii, torch.cat([b.logits for b in grown]), matrix_to_rotation6d(bases[..., :3, :3]), shift, parent)
    first, second = kept.named(0), child.named(1)
    return first[0] | second[0], first[1] | second[1]


def _branch(layer: Layer, root: TreeLevel, own: Tensor, node: int, numbers: DeepenNumbers, random: np.random.Generator) -> _Branch | None:
    """The children of root node `node`, whose own motion at the knots is `own` (K, 4, 4)."""
    points = layer.splats["means"]
    distance = (points - root.means[node]).norm(dim=1)
    around = torch.nonzero(distance < root.log_radius[node].exp()).squeeze(1)
    if len(around) < numbers.fewest:
        return None
    chosen = np.sort(random.choice(len(around), min(numbers.looked_at, len(around)), replace=False))
    rows = around[torch.from_numpy(chosen).to(around.device)]
    relative = _motions(layer, rows) @ inverse(own)[:, None]
    middle = apply_rigid(own, root.means[node].expand(len(own), 3))
    path = apply_rigid(relative, middle[:, None].expand(len(own), len(rows), 3)) - middle[:, None]
    label = _clusters(path.transpose(0, 1).cpu().numpy().astype(np.float64), numbers.bases, random)
    place = points[rows]
    spread = max(float((place - place.mean(0)).norm(dim=1).mean()), 1e-9)
    bases, logits = [], []
    picked = torch.from_numpy(random.choice(len(rows), min(numbers.children, len(rows)), replace=False)).to(rows.device)
    for number in range(numbers.bases):
        mine = torch.from_numpy(np.flatnonzero(label == number % (int(label.max()) + 1))).to(rows.device)
        heart = place[mine].median(0).values
        nearest = mine[(place[mine] - heart).norm(dim=1).topk(min(numbers.blended, len(mine)), largest=False).indices]
        motion = dual_quat_from_rigid(relative[:, nearest])
        bases.append(dual_quat_to_rigid(dual_quat_blend(motion, torch.ones_like(motion[..., 0]))))
        logits.append(numbers.temperature * torch.exp(-(place[picked] - heart).norm(dim=1) / spread))
    return _Branch(place[picked].clone(), torch.stack(logits, dim=1), torch.stack(bases))


def _motions(layer: Layer, rows: Tensor) -> Tensor:
    """(K, R, 4, 4) motions of the Gaussians `rows` (R,) at all knots."""
    some = replace(layer, splats={name: value[rows] for name, value in layer.splats.items()})
    blended = layer.motion.motions(some, layer.fixed["knots"])  # type: ignore[attr-defined]
    return dual_quat_to_rigid(blended)


def _clusters(path: NDArray[np.float64], wanted: int, random: np.random.Generator) -> NDArray[np.intp]:
    """(R,) clusters of paths (R, K, 3) by the directions of their steps; numbered from 0 without gaps."""
    step = np.diff(path, axis=1)
    largest = float(np.abs(step).max(initial=0.0))
    if step.shape[1] == 0 or largest < 1e-12 or len(path) <= wanted:
        return np.arange(len(path)) % min(wanted, len(path))
    unit = step / (np.linalg.norm(step, axis=2, keepdims=True) + 1e-3 * largest)
    feature = unit.reshape(len(path), -1) / np.sqrt(step.shape[1])
    label = kmeans2(feature, wanted, minit="++", seed=random, missing="warn")[1]  # pyright: ignore[reportCallIssue]
    return np.unique(label, return_inverse=True)[1].astype(np.intp)
