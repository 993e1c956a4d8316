"""Small motion trees for tests: random ones, and ones that move as a known rigid body."""

from __future__ import annotations

import torch

from fourfold.geometry.rotations import matrix_to_rotation6d, so3_exp
from fourfold.scene.motion.motion_tree import MotionTree
from fourfold.scene.scene import DYNAMIC, Layer
from fourfold.scene.tree_levels import TreeLevel, nearest_nodes
from fourfold.scene.tree_nodes import log_radii


def rigid_bases(parents: int, bases: int, knots: torch.Tensor, spread: float, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """(P, B, K, 6) and (P, B, K, 3): smooth motions that differ by about `spread` radians and units."""
    speed = spread * torch.randn(parents, bases, 1, 6, generator=generator, dtype=knots.dtype)
    twist = speed * knots[None, None, :, None]
    return matrix_to_rotation6d(so3_exp(twist[..., :3])), twist[..., 3:]


def random_tree(
    levels: int = 2, bases: int = 3, spread: float = 0.4, points: int = 60, seed: int = 0, dtype: torch.dtype = torch.float32, parity: bool = False
) -> Layer:
    """A layer of `points` Gaussians on a tree with 8 root nodes and, with two levels, 3 children each; knots at 0, 0.25, ... 1 s."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    knots = torch.linspace(0, 1, 5, dtype=dtype)
    roots = normal(8, 3)
    level = TreeLevel(roots, log_radii(roots), normal(8, bases), *rigid_bases(1, bases, knots, spread, generator), torch.zeros(8, dtype=torch.int64))
    shared, fixed = level.named(0)
    leaves = roots
    if levels == 2:
        parent = torch.arange(8).repeat_interleave(3)
        leaves = roots[parent] + 0.3 * normal(24, 3)
        child = TreeLevel(leaves, log_radii(leaves), normal(24, bases), *rigid_bases(8, bases, knots, spread / 4, generator), parent)
        more = child.named(1)
        shared, fixed = shared | more[0], fixed | more[1]
    means = normal(points, 3)
    splats = {
        "means": means,
        "quat_wxyz": normal(points, 4),
        "log_scale": normal(points, 3) - 2,
        "opacity_logit": normal(points),
        "color_logit": normal(points, 3),
        "near": nearest_nodes(means, leaves, 3),
    }
    return Layer(
        "object", DYNAMIC, MotionTree(parity), splats, shared, fixed | {"knots": knots, "pivot": torch.tensor([0.1, -0.2, 0.3], dtype=dtype)}
    )
