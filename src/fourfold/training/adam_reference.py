"""Adam in plain tensor operations: the readable twin of the fused step."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def adam_step(
    param: Tensor,
    grad: Tensor,
    first: Tensor,
    second: Tensor,
    step: int,
    rate: float,
    eps: float,
    betas: tuple[float, float],
    rows: Tensor | None,
) -> None:
    """One Adam step in place on `param` and its moments `first` and `second`, all (N, ...).

    Args:
        step: how many steps were done with this one, for the bias correction.
        rows: (N,) bool, the rows to change; None for all.
    """
    if rows is not None:
        index = rows.nonzero()[:, 0]
        parts = [tensor[index] for tensor in (param, grad, first, second)]
        adam_step(*parts, step, rate, eps, betas, None)
        for whole, part in zip((param, first, second), (parts[0], parts[2], parts[3]), strict=True):
            whole[index] = part
        return
    first.lerp_(grad, 1 - betas[0])
    second.mul_(betas[1]).addcmul_(grad, grad, value=1 - betas[1])
    corrected = (second / (1 - betas[1] ** step)).sqrt_().add_(eps)
    param.addcdiv_(first, corrected, value=-rate / (1 - betas[0] ** step))
