"""Two-term as-rigid-as-possible loss on the nodes of a motion tree, between moments that are not neighbours in time.

Equation 12 of 4DGS360; spec himor_4dgs360.md section 4. Lengths in extents of the scene.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fourfold.geometry.host import on_host, sent
from fourfold.kernels.devices import compiled, pointer
from fourfold.kernels.scored import scored
from fourfold.losses.base import Step, mean_of
from fourfold.scene.motion.motion_tree import MotionTree
from fourfold.scene.scene import Layer
from fourfold.scene.tree_levels import NodeMotions, level_count, node_motions, tree_level
from fourfold.scene.tree_nodes import node_neighbours

TINY = 1e-16


def trees(step: Step) -> Iterator[tuple[Layer, MotionTree]]:
    """The layers that move by a motion tree."""
    return ((layer, layer.motion) for layer in step.scene.layers if isinstance(layer.motion, MotionTree) and level_count(layer))


def random_moments(layer: Layer, first: float, count: int, seed: tuple[int, ...], parity: bool) -> Tensor:
    """(count,) knots in random order, that nearest to `first` in front; at least one. With `parity` the end knots never occur."""
    knots = layer.fixed["knots"]
    allowed = np.arange(len(knots))[1:-1] if parity and len(knots) > 2 else np.arange(len(knots))
    start = int((on_host(knots)[torch.from_numpy(allowed)] - first).abs().argmin())
    others = np.random.default_rng(seed).permutation(np.delete(allowed, start))[: count - 1]
    return sent(on_host(knots)[torch.from_numpy(np.concatenate([allowed[start : start + 1], others]))], knots.device)


def moved_nodes(step: Step, layer: Layer, item: int, moments: int, parity: bool) -> tuple[Tensor, list[NodeMotions]]:
    """Random moments (Q,) around sample `item` and the nodes' motions then; shared by the losses of a step."""
    key = f"tree:{layer.name}:{item}:{moments}"
    if key not in step.memo:
        times = random_moments(layer, step.samples[item].time, moments, (step.index, item, 31), parity)
        step.memo[key] = times, node_motions(layer, times)
    return step.memo[key]


@dataclass(frozen=True)
class TreeRigidity:
    """Mean over nodes, neighbours and pairs of moments of w1 | |x_i - x_j| at t - at t' | + w2 | T_j^-1 x_i at t - at t' |.

    Neighbours are the fixed `node_near_l` (M, J) of the level, which node control renews, or are found anew.

    Attributes:
        lengths, local: w1 and w2 (as released: 1.0 and 0.5).
        coarser: a level counts this many times the one below it.
        moments: the image's own and random others, paired in their order (the paper: the images of a batch of eight).
        drawn: neighbours that are drawn in a step, of the `among` nearest (4DGS360's text: all of 5; as released 5 of 10).
        nodes: at most this many nodes are looked at in a step.
    """

    lengths: float = 1.0
    local: float = 0.5
    coarser: float = 5.0
    moments: int = 4
    drawn: int = 5
    among: int = 10
    nodes: int = 128

    def channels(self, step: Step, item: int) -> Mapping[str, Tensor]:
        """None needed."""
        return {}

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the batch; 0 without a motion tree."""
        losses = []
        for layer, motion in trees(step):
            levels = level_count(layer)
            for item in range(len(step.samples)):
                times, motions = moved_nodes(step, layer, item, self.moments, motion.parity)
                if len(times) < 2:
                    continue
                random = np.random.default_rng((step.index, item, 30))
                parts = [self.coarser ** (levels - 1 - k) * self._level(layer, k, moved, random) for k, moved in enumerate(motions)]
                losses.append(torch.stack(parts).sum() / step.extent)
        return mean_of(losses, step.gaussians[0].means)

    def _level(self, layer: Layer, number: int, motion: NodeMotions, random: np.random.Generator) -> Tensor:
        means = tree_level(layer, number).means.detach()
        if len(means) < 2:
            return means.new_zeros(())
        some = torch.from_numpy(np.sort(random.permutation(len(means))[: self.nodes])).to(means.device, non_blocking=True)
        kept = layer.fixed.get(f"node_near_{number}")
        near = (node_neighbours(layer, number) if kept is None or len(kept) != len(means) else kept)[some, : self.among]
        order = torch.from_numpy(random.random(tuple(near.shape))).argsort(dim=1).to(near.device, non_blocking=True)
        near = near.gather(1, order)[:, : self.drawn]
        first, second = some.repeat_interleave(near.shape[1]), near.flatten()
        return rigidity_of_pairs(motion, means, (first, second), (self.lengths, self.local))


def rigidity_of_pairs(motion: NodeMotions, means: Tensor, pairs: tuple[Tensor, Tensor], weights: tuple[float, float]) -> Tensor:
    """`two_terms` of the nodes `pairs` (E,), (E,) of those with canonical `means` (M, 3), which get no gradient. CPU float32 goes through the
    compiled kernel."""
    first, second = pairs
    library = compiled(motion.quat, motion.shift, means)
    if library is None:
        return two_terms(motion.of(first).apply(means[first]), motion.of(second), means[second], weights)
    fixed = [t.contiguous() for t in (means, first, second)]
    moments, nodes = motion.quat.shape[:2]

    def kernel(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> float:
        value, sizes = ctypes.c_double(), (ctypes.c_int64 * 3)(moments, nodes, len(first))
        numbers = (ctypes.c_float * 2)(*weights)
        if library.ff_two_terms(*map(pointer, (*inputs, *fixed)), sizes, numbers, ctypes.byref(value), *map(pointer, gradients)):
            raise MemoryError(f"no memory for the rigidity of {len(first)} pairs of nodes")
        return value.value

    return scored(kernel, motion.quat, motion.shift)


def two_terms(places: Tensor, base: NodeMotions, means: Tensor, weights: tuple[float, float]) -> Tensor:
    """The loss of E pairs, averaged over pairs and over consecutive moments; scene units.

    Args:
        places: (Q, E, 3) the first nodes; base: motions of the second nodes, canonical `means` (E, 3).
    """
    length = ((places - base.apply(means)).square().sum(-1) + TINY).sqrt()
    local = base.undo(places)
    moved = ((local[1:] - local[:-1]).square().sum(-1) + TINY).sqrt()
    return weights[0] * (length[1:] - length[:-1]).abs().mean() + weights[1] * moved.mean()
