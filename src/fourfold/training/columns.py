"""Extra channels side by side: joining what the losses ask for, and taking the drawn images apart again.

`torch.cat` and the gradient of `split` copy row by row where rows are a few numbers long; here columns are copied whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor


def join_columns(parts: Sequence[Tensor]) -> Tensor:
    """(..., C) of parts (..., C_i), contiguous."""
    return parts[0].contiguous() if len(parts) == 1 else _Join.apply(*parts)  # type: ignore[no-any-return]


def split_columns(whole: Tensor, widths: Sequence[int]) -> tuple[Tensor, ...]:
    """Parts (..., C_i) of (..., C), each contiguous."""
    return (whole,) if len(widths) == 1 else _Split.apply(whole, tuple(widths))  # type: ignore[no-any-return]


def _places(widths: Sequence[int]) -> list[slice]:
    return [slice(begin, end) for begin, end in pairwise(accumulate(widths, initial=0))]


def _assembled(parts: Sequence[Tensor | None], widths: Sequence[int], like: Tensor) -> Tensor:
    """The parts side by side, zeros for None."""
    whole = like.new_empty(*like.shape[:-1], sum(widths))
    for part, place in zip(parts, _places(widths), strict=True):
        if part is None:
            whole[..., place].zero_()
        else:
            whole[..., place].copy_(part)
    return whole


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        ctx.widths = [part.shape[-1] for part in parts]
        return _assembled(parts, ctx.widths, parts[0])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = grad_outputs
        return tuple(gradient[..., place] if wanted else None for place, wanted in zip(_places(ctx.widths), ctx.needs_input_grad, strict=True))


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, whole: Tensor, widths: tuple[int, ...]) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.widths = widths
        ctx.save_for_backward(whole)
        return tuple(whole[..., place].clone(memory_format=torch.contiguous_format) for place in _places(widths))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor, None]:
        (whole,) = ctx.saved_tensors
        return _assembled(grad_outputs, ctx.widths, whole), None
