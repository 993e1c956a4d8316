"""Closed-form alignments: rigid and similarity transforms between point sets, scale and shift between depth maps."""

from __future__ import annotations

import torch
from torch import Tensor

from fourfold.geometry.rigid import make_rigid

MEDIAN_GUARD = 1e-8  # keeps the ratio of deviations finite; spec priors_monocular.md section 3


def procrustes(source: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """(..., 4, 4) the rigid transform that moves `source` (..., P, 3) closest to `target` in weighted least squares (Kabsch).

    Args:
        weights: (..., P), not negative; 1 if None. With all of them zero the result is the identity.
    """
    rotation, translation, _ = _fit(source, target, weights)
    return make_rigid(rotation, translation)


def umeyama(source: Tensor, target: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The similarity x -> scale * rotation x + translation that moves `source` closest to `target` (Umeyama 1991).

    Arguments as for `procrustes`. Returns scale (...), rotation (..., 3, 3) and translation (..., 3).
    """
    rotation, translation, scale = _fit(source, target, weights, with_scale=True)
    return scale, rotation, translation


def _fit(source: Tensor, target: Tensor, weights: Tensor | None, with_scale: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    w = torch.ones_like(source[..., 0]) if weights is None else weights
    total = w.sum(-1, keepdim=True)
    w = (w / total.clamp_min(torch.finfo(w.dtype).tiny))[..., None]
    mean_source, mean_target = (w * source).sum(-2), (w * target).sum(-2)
    centred_source, centred_target = source - mean_source[..., None, :], target - mean_target[..., None, :]
    u, singular, vh = torch.linalg.svd((w * centred_target).transpose(-1, -2) @ centred_source)
    mirror = torch.ones_like(singular)
    mirror[..., 2] = torch.where(torch.linalg.det(u @ vh) < 0, -1.0, 1.0).to(singular.dtype)
    rotation = (u * mirror[..., None, :]) @ vh
    scale = torch.ones_like(singular[..., 0])
    if with_scale:
        spread = (w * centred_source.square()).sum((-1, -2))
        scale = (singular * mirror).sum(-1) / spread.clamp_min(torch.finfo(w.dtype).tiny)
    translation = mean_target - scale[..., None] * (rotation @ mean_source[..., None]).squeeze(-1)
    return rotation, translation, scale


def scale_shift(source: Tensor, target: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Scale and shift (...) with scale * source + shift closest to `target` in weighted least squares; both (..., P)."""
    w = torch.ones_like(source) if weights is None else weights
    tiny = torch.finfo(w.dtype).tiny
    w = w / w.sum(-1, keepdim=True).clamp_min(tiny)
    mean_source, mean_target = (w * source).sum(-1), (w * target).sum(-1)
    deviation = source - mean_source[..., None]
    covariance = (w * deviation * (target - mean_target[..., None])).sum(-1)
    scale = covariance / (w * deviation.square()).sum(-1).clamp_min(tiny)
    return scale, mean_target - scale * mean_source


def median_scale_shift(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Robust scale and shift (...) by medians, both (..., P): spec priors_monocular.md section 3 (meant for disparities).

    scale = median((target - med target) / (source - med source)), shift = median(target - scale * source).
    """
    from_source = source - source.median(-1, keepdim=True).values
    from_target = target - target.median(-1, keepdim=True).values
    scale = ((from_target + MEDIAN_GUARD) / (from_source + MEDIAN_GUARD)).median(-1).values
    return scale, (target - scale[..., None] * source).median(-1).values


def scale_only(source: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """(...) the scale with scale * source closest to `target` (..., P) or, for vectors, flattened; weighted least squares.

    The closed form of spec priors_monocular.md section 3 (sum of source * target over sum of source squared).
    """
    w = torch.ones_like(source) if weights is None else weights
    return (w * source * target).sum(-1) / (w * source.square()).sum(-1).clamp_min(torch.finfo(w.dtype).tiny)
