"""Nodes behind each other on a viewing ray that move alike keep their distance: the second kind of neighbour of 4DGS360's rigidity.

Supplement A.3; spec himor_4dgs360.md section 4, kind 2. What is hidden behind a surface is no spatial neighbour of it, yet part of the same body.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.geometry.camera import Camera
from fourfold.geometry.host import on_host
from fourfold.geometry.projection import project
from fourfold.losses.base import Step, mean_of
from fourfold.losses.tree_rigidity import TINY, moved_nodes, trees
from fourfold.scene.scene import Layer
from fourfold.scene.tree_levels import level_count, tree_level
from fourfold.scene.tree_nodes import node_speeds


@dataclass(frozen=True)
class TreeRays:
    """Mean change of distance between leaf nodes of one ray and of similar speed, from one moment to another, weighed by 1 - |dt| / T.

    Attributes:
        rays: random nodes whose viewing rays are looked along.
        patch: side of the square around a ray that gathers nodes, shares of the larger image side (50 of 480 pixels as released).
        most: nodes gathered per ray; front, along: how many are drawn from its nearer half and from all of it.
        alike: partners per front node, those of the most similar speeds.
        moments: as in `TreeRigidity`. Speeds are the fixed `node_speed` (S, M), which node control renews, or are found anew.
    """

    rays: int = 30
    patch: float = 0.1
    most: int = 20
    front: int = 2
    along: int = 5
    alike: int = 2
    moments: int = 4

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss in extents, averaged over the batch; 0 without a motion tree."""
        losses = []
        for layer, motion in trees(step):
            means = tree_level(layer, level_count(layer) - 1).means.detach()
            for item, sample in enumerate(step.samples):
                times, motions = moved_nodes(step, layer, item, self.moments, motion.parity)
                if len(times) < 2:
                    continue
                places = motions[-1].apply(means)
                first, second = self._pairs(layer, sample.camera, places[0].detach(), np.random.default_rng((step.index, item, 33)))
                if len(first):
                    losses.append(self._change(layer, times, places[:, first] - places[:, second]) / step.extent)
        return mean_of(losses, step.gaussians[0].means)

    def _change(self, layer: Layer, times: Tensor, offset: Tensor) -> Tensor:
        length = (offset.square().sum(-1) + TINY).sqrt()
        knots = layer.fixed["knots"]
        share = 1 - (times[1:] - times[:-1]).abs() / max(float(on_host(knots)[-1] - on_host(knots)[0]), 1e-9)
        return (share[:, None] * (length[1:] - length[:-1]).abs()).mean()

    def _pairs(self, layer: Layer, camera: Camera, places: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Rows (E,) and (E,) of the leaf nodes to be compared; `places` (M, 3) are theirs at the image's time."""
        kept = layer.fixed.get("node_speed")
        speed = node_speeds(layer, level_count(layer) - 1) if kept is None or kept.shape[1] != len(places) else kept
        xy, depth = project(places, camera.K.to(places), camera.world_to_camera.to(places))
        side = self.patch * max(camera.width, camera.height) / 2
        image = (side, camera.width, camera.height)
        told = torch.cat([xy, depth[:, None]], dim=1).cpu().numpy()  # one wait for both
        pairs = ray_pairs(told[:, :2], told[:, 2], on_host(speed).numpy(), image, self, random)
        rows = torch.from_numpy(pairs).to(places.device, non_blocking=True)
        return rows[:, 0], rows[:, 1]


def ray_pairs(
    xy: NDArray[np.floating],
    depth: NDArray[np.floating],
    speed: NDArray[np.floating],
    image: tuple[float, int, int],
    numbers: TreeRays,
    random: np.random.Generator,
) -> NDArray[np.int64]:
    """(E, 2) rows of nodes on the same rays.

    Args:
        xy: (M, 2) pixels; depth: (M,); speed: (S, M) lengths of the nodes' steps; image: half the patch's side, width and height in pixels.
    """
    side, width, height = image
    inside = np.flatnonzero((depth > 0) & (xy >= 0).all(1) & (xy[:, 0] < width) & (xy[:, 1] < height))
    found: list[NDArray[np.int64]] = []
    for centre in random.permutation(inside)[: numbers.rays]:
        ray = inside[(np.abs(xy[inside] - xy[centre]) <= side).all(1)]
        ray = random.permutation(ray)[: numbers.most]
        if len(ray) < 2:
            continue
        ray = ray[np.argsort(depth[ray])]
        front = random.permutation(ray[: (len(ray) + 1) // 2])[: numbers.front]
        along = random.permutation(ray)[: numbers.along]
        apart = np.abs(speed[:, front, None] - speed[:, None, along]) / (speed[:, front, None] + speed[:, None, along] + 1e-6)
        unlike = np.where(front[:, None] == along[None], np.inf, apart.mean(0))
        partner = np.argsort(unlike, axis=1)[:, : numbers.alike]
        rows = np.stack([np.repeat(front, partner.shape[1]), along[partner].ravel()], 1)
        found.append(rows[rows[:, 0] != rows[:, 1]].astype(np.int64))
    return np.concatenate(found) if found else np.zeros((0, 2), np.int64)
