"""Values between knots through the compiled kernel. The plain twin in torch is `between_knots_reference`; it also serves other devices and dtypes."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourfold.kernels.devices import compiled, pointer


def between_knots(weights: Tensor, *values: Tensor) -> Tensor:
    """(Q, R, C) sums over the knots of `values` with `weights` (Q, K), for instance `cubic_matrix`'s, which get no gradient.

    Args:
        values: arrays (R, K, C_i) with the same rows and knots, which stand side by side in the result: C = sum of C_i.
    """
    library = compiled(weights, *values)
    if library is None:
        return between_knots_reference(weights, *values)
    return _BetweenKnots.apply(library, weights.contiguous(), *(v.contiguous() for v in values))  # type: ignore[no-any-return]


def between_knots_reference(weights: Tensor, *values: Tensor) -> Tensor:
    """The plain twin of `between_knots`."""
    return torch.einsum("qk,rkc->qrc", weights.to(values[0].dtype), torch.cat(values, dim=-1))


class _BetweenKnots(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, library: ctypes.CDLL, weights: Tensor, *values: Tensor) -> Tensor:
        rows, knots = values[0].shape[:2]
        ctx.shapes = [value.shape for value in values]
        ctx.call = (ctypes.c_int64 * len(values))(*(shape[2] for shape in ctx.shapes)), ctypes.c_int(len(values))
        ctx.sizes = (ctypes.c_int64 * 3)(rows, knots, len(weights))
        out = weights.new_empty(len(weights), rows, sum(shape[2] for shape in ctx.shapes))
        arrays = (ctypes.c_void_p * len(values))(*(value.data_ptr() for value in values))
        library.ff_between_knots(arrays, *ctx.call, pointer(weights), ctx.sizes, pointer(out))
        ctx.library = library
        ctx.save_for_backward(weights)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        of, (weights,) = grad_outputs[0].contiguous(), ctx.saved_tensors
        by = [weights.new_empty(shape) for shape in ctx.shapes]
        arrays = (ctypes.c_void_p * len(by))(*(gradient.data_ptr() for gradient in by))
        ctx.library.ff_between_knots_backward(pointer(of), *ctx.call, pointer(weights), ctx.sizes, arrays)
        return None, None, *by
