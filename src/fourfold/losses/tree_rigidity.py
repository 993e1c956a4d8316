"""Two-term as-rigid-as-possible loss on the nodes of a motion tree, between moments that are not neighbours in time.

Equation 12 of 4DGS360; spec himor_4dgs360.md section 4. Lengths in extents of the scene.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fourfold.geometry.rigid import apply_rigid
from fourfold.losses.base import Step
from fourfold.scene.motion.motion_tree import MotionTree
from fourfold.scene.scaffold_nodes import curve_distance
from fourfold.scene.scene import Layer
from fourfold.scene.tree_levels import level_count, node_motions, node_paths, tree_level

TINY = 1e-16


def trees(step: Step) -> Iterator[tuple[Layer, MotionTree]]:
    """The layers that move by a motion tree."""
    return ((layer, layer.motion) for layer in step.scene.layers if isinstance(layer.motion, MotionTree) and level_count(layer))


def mean_of(losses: list[Tensor], step: Step) -> Tensor:
    """The mean loss; 0 without any."""
    return torch.stack(losses).mean() if losses else step.gaussians[0].means.new_zeros(())


def random_moments(layer: Layer, first: float, count: int, seed: tuple[int, ...], parity: bool) -> Tensor:
    """(count,) knots in random order, that nearest to `first` in front; at least one. With `parity` the end knots never occur."""
    knots = layer.fixed["knots"]
    allowed = np.arange(len(knots))[1:-1] if parity and len(knots) > 2 else np.arange(len(knots))
    start = int((knots[torch.from_numpy(allowed).to(knots.device)] - first).abs().argmin())
    others = np.random.default_rng(seed).permutation(np.delete(allowed, start))[: count - 1]
    return knots[torch.from_numpy(np.concatenate([allowed[start : start + 1], others])).to(knots.device)]


@dataclass(frozen=True)
class TreeRigidity:
    """Mean over nodes, neighbours and pairs of moments of w1 | |x_i - x_j| at t - at t' | + w2 | T_j^-1 x_i at t - at t' |.

    Attributes:
        lengths, local: w1 and w2 (as released: 1.0 and 0.5).
        coarser: a level counts this many times the one below it.
        moments: the image's own and random others, paired in their order (the paper: the images of a batch of eight).
        near, drawn: nearest nodes by curve distance, and how many of them are drawn in a step.
        nodes: at most this many are looked at in a step; compared: moments at which curves are compared.
    """

    lengths: float = 1.0
    local: float = 0.5
    coarser: float = 5.0
    moments: int = 4
    near: int = 10
    drawn: int = 5
    nodes: int = 128
    compared: int = 6

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the batch; 0 without a motion tree."""
        losses = []
        for layer, motion in trees(step):
            levels = level_count(layer)
            for item, sample in enumerate(step.samples):
                times = random_moments(layer, sample.time, self.moments, (step.index, item, 31), motion.parity)
                motions = node_motions(layer, times) if len(times) > 1 else []
                parts = [
                    self.coarser ** (levels - 1 - number) * self._level(layer, number, moved, step, np.random.default_rng((step.index, item, number)))
                    for number, moved in enumerate(motions)
                ]
                losses += [torch.stack(parts).sum()] if parts else []
        return mean_of(losses, step)

    def _level(self, layer: Layer, number: int, motion: Tensor, step: Step, random: np.random.Generator) -> Tensor:
        means = tree_level(layer, number).means.detach()
        count = len(means)
        if count < 2:
            return means.new_zeros(())
        some = torch.from_numpy(np.sort(random.permutation(count)[: self.nodes])).to(means.device)
        neighbours = self._neighbours(layer, number, some, random)
        first, second = some.repeat_interleave(neighbours.shape[1]), neighbours.flatten()
        places = apply_rigid(motion, means)
        return two_terms(places, motion, first, second, (self.lengths, self.local)) / step.extent

    def _neighbours(self, layer: Layer, number: int, some: Tensor, random: np.random.Generator) -> Tensor:
        """(S, drawn) for each of the nodes `some` (S,) a random few of its nearest by curve distance."""
        knots = layer.fixed["knots"]
        moments = knots[torch.linspace(0, len(knots) - 1, min(self.compared, len(knots))).round().long()]
        with torch.no_grad():
            distance = curve_distance(node_paths(layer, moments, number), largest=1, others=some).T
            distance[torch.arange(len(some)), some] = torch.inf
            near = distance.topk(min(self.near, distance.shape[1] - 1), dim=1, largest=False).indices
            order = torch.from_numpy(random.random(tuple(near.shape))).argsort(dim=1).to(near.device)
        return near.gather(1, order)[:, : self.drawn]


def two_terms(places: Tensor, motion: Tensor, first: Tensor, second: Tensor, weights: tuple[float, float]) -> Tensor:
    """The loss of node pairs (first, second) (E,), averaged over pairs and over consecutive moments; scene units.

    Args:
        places: (Q, M, 3) nodes; motion: (Q, M, 4, 4) their motions from canonical space.
    """
    offset = places[:, first] - places[:, second]
    length = (offset.square().sum(-1) + TINY).sqrt()
    base = motion[:, second]
    local = (base[..., :3, :3].transpose(-1, -2) @ (places[:, first] - base[..., :3, 3])[..., None]).squeeze(-1)
    moved = ((local[1:] - local[:-1]).square().sum(-1) + TINY).sqrt()
    return weights[0] * (length[1:] - length[:-1]).abs().mean() + weights[1] * moved.mean()
