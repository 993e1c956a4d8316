"""Means that leave out the worst: Shape of Motion's helper M(e, m, q) (spec shape_of_motion.md section 8)."""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST_QUANTILE = 2**24
"""`torch.quantile` refuses more elements than this; a regular subsample stands for them."""


def quantile(values: Tensor, level: float) -> Tensor:
    """The `level` quantile of all `values`, from a regular subsample if there are very many."""
    flat = values.detach().flatten()
    stride = max(1, -(-flat.numel() // LARGEST_QUANTILE))
    return torch.quantile(flat[::stride].contiguous(), level)


def trimmed_mean(error: Tensor, weight: Tensor | None = None, level: float = 1.0, before_masking: bool = False) -> Tensor:
    """Weighted mean of `error` without the elements at or above its `level` quantile; 0 where no weight is left.

    Args:
        error: (...) not negative; weight: the same shape, or None for all alike.
        level: 1 keeps all elements.
        before_masking: take the quantile of all elements, as the released code does, instead of those with weight. Where most of the
            image is masked out that trims by errors which nobody asked about.

    Source: spec shape_of_motion.md section 8.
    """
    if level < 1.0:
        considered = error if weight is None or before_masking else error[weight > 0]
        if considered.numel() > 1:
            limit = quantile(considered, level)
            # errors that are all equal would all be dropped: then there is no worst to leave out
            kept = ((error < limit) | (considered.detach().amax() <= limit) & (considered.detach().amin() >= limit)).to(error.dtype)
            weight = kept if weight is None else kept * weight
    if weight is None:
        return error.mean()
    return (error * weight).sum() / (weight.sum() + 1e-8)
