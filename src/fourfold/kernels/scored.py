"""Losses whose value and gradients come out of one call of a compiled kernel: one node of autograd, whose backward pass only scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Kernel = Callable[[Sequence[Tensor], Sequence[Tensor]], float]
"""Reads contiguous inputs, writes the gradient of every one of them and returns the value."""


def scored(kernel: Kernel, *inputs: Tensor) -> Tensor:
    """The scalar that `kernel` gives, differentiable once in `inputs`."""
    return _Scored.apply(kernel, *inputs)  # type: ignore[no-any-return]


class _Scored(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernel: Kernel, *inputs: Tensor) -> Tensor:
        ready = [t.contiguous() for t in inputs]
        gradients = [torch.empty_like(t) for t in ready]
        value = kernel(ready, gradients)
        ctx.gradients = gradients
        return torch.tensor(value, dtype=ready[0].dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradients, ctx.gradients = ctx.gradients, None  # they are scaled where they lie, so only once
        wanted = ctx.needs_input_grad[1:]
        return None, *(g.mul_(grad_outputs[0]) if asked else None for g, asked in zip(gradients, wanted, strict=True))
