"""Means that leave out the worst: Shape of Motion's helper M(e, m, q) (spec shape_of_motion.md section 8)."""

from __future__ import annotations

import torch
from torch import Tensor

SAMPLE = 2**14
"""Quantiles are taken from a regular subsample of about this size: exact enough (0.1 % at 98 %), and sorting stays cheap."""


def subsample(values: Tensor) -> Tensor:
    """Every k-th of all `values`, flat and detached; k is odd, so that it walks through all columns of an image of even width."""
    flat = values.detach().flatten()
    stride = max(1, -(-flat.numel() // SAMPLE))
    return flat[:: stride if stride == 1 else stride | 1]


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
        considered = subsample(error)
        if weight is not None and not before_masking:
            considered = considered[subsample(weight) > 0]
        if considered.numel() > 1:
            limit = torch.quantile(considered, level)
            # errors that are all equal would all be dropped: then there is no worst to leave out
            kept = (error <= limit) if bool(considered.amin() >= limit) else (error < limit)
            weight = kept.to(error.dtype) if weight is None else kept * weight
    if weight is None:
        return error.mean()
    return (error * weight).sum() / (weight.sum() + 1e-8)
