"""Means that leave out the worst: Shape of Motion's helper M(e, m, q) (spec shape_of_motion.md section 8)."""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST_QUANTILE = 2**24
"""`torch.quantile` refuses more elements than this; a regular subsample stands for them."""


def quantile(values: Tensor, level: float) -> Tensor:
    """The `level` quantile of all `values`, from a regular subsample if there are very many."""
    flat = values.detach().flatten()
    stride = -(-flat.numel() // LARGEST_QUANTILE)
    return torch.quantile(flat[::stride].contiguous(), level)


def trimmed_mean(error: Tensor, weight: Tensor | None = None, level: float = 1.0) -> Tensor:
    """Mean of `error` without the elements at or above its `level` quantile, weighted by `weight`.

    Args:
        error: (...) non-negative; weight: the same shape, or None for all alike.
        level: 1 keeps all. The quantile is taken among the elements of positive weight, so that masked pixels do not shift it.

    Source: spec shape_of_motion.md section 8, which takes the quantile before masking; see `level`.
    """
    considered = error if weight is None else error[weight > 0]
    if level < 1.0 and considered.numel() > 1:
        kept = (error < quantile(considered, level)).to(error.dtype)
        weight = kept if weight is None else kept * weight
    if weight is None:
        return error.mean()
    return (error * weight).sum() / (weight.sum() + 1e-8)
