"""How much each Gaussian follows the leaf nodes around it (spec himor_4dgs360.md section 1).

`leaf_weights` runs in the compiled kernel; its plain twin in torch, `leaf_weights_reference`, also serves other devices and dtypes.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourfold.kernels.devices import compiled, pointer


def leaf_weights(points: Tensor, nodes: Tensor, log_radius: Tensor, near: Tensor, parity: bool = False) -> Tensor:
    """(N, K) weights, sum 1, of the nodes `near` (N, K) each of `points` (N, 3): normalised Gaussians of the distance in radii.

    Args:
        nodes: (M, 3); log_radius: (M,) natural logarithms.
        parity: the released softmax(exp(-d^4 / (2 r^2))), whose weights stay within [0.15, 0.58] for three nodes.

    No gradient goes to the points.
    """
    library = None if parity or not len(points) else compiled(points, nodes, log_radius)
    if library is None:
        return leaf_weights_reference(points.detach(), nodes, log_radius, near, parity)
    given = points.detach().contiguous(), nodes.contiguous(), log_radius.contiguous(), near.contiguous()
    return _LeafWeights.apply(library, *given)  # type: ignore[no-any-return]


def leaf_weights_reference(points: Tensor, nodes: Tensor, log_radius: Tensor, near: Tensor, parity: bool = False) -> Tensor:
    """The plain twin of `leaf_weights`."""
    columns = near.T.flatten()  # over the first dimension a softmax of three numbers is ten times faster than over the last
    count = near.shape[1]
    squared = (points - nodes.index_select(0, columns).unflatten(0, (count, -1))).square().sum(-1)
    radius = (2 * log_radius).exp().index_select(0, columns).unflatten(0, (count, -1))
    if parity:
        return torch.softmax(torch.exp(-squared.square() / (2 * radius + 1e-8)), dim=0).T
    return torch.softmax(-squared / (2 * radius), dim=0).T


class _LeafWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, library: ctypes.CDLL, points: Tensor, nodes: Tensor, log_radius: Tensor, near: Tensor) -> Tensor:
        weights = points.new_empty(near.shape)
        ctx.library, ctx.sizes = library, (ctypes.c_int64 * 3)(len(points), len(nodes), near.shape[1])
        library.ff_leaf_weights(*map(pointer, (points, nodes, log_radius, near)), ctx.sizes, pointer(weights))
        ctx.save_for_backward(points, nodes, log_radius, near, weights)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        saved = ctx.saved_tensors
        of, by_nodes, by_log_radius = grad_outputs[0].contiguous(), torch.empty_like(saved[1]), torch.empty_like(saved[2])
        ctx.library.ff_leaf_weights_backward(*map(pointer, saved), ctx.sizes, *map(pointer, (of, by_nodes, by_log_radius)))
        return None, None, by_nodes, by_log_radius, None
