"""Keyframes of what moves otherwise: in blocks of about a second, of each Gaussian as many as it needs, evenly spaced.

Between keyframes everything runs straight, rotations along the chord. A Gaussian of level L has 2^L + 1 of them in a block, of level 0 only one which
holds for the whole block; who is not seen in a block has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.rotations import quat_conjugate, quat_exp, quat_log, quat_multiply, quat_normalize
from fourfold.viewer.packing.config import PackConfig

HIDDEN = 255  # level of who is not seen
ANGLE_STEP = 1 / 128  # radians
LOOK_STEP = 0.02  # of the natural logarithm of a standard deviation
UNSEEN = 1 / 255


@dataclass(frozen=True)
class Film:
    """N Gaussians at the S = 2^n + 1 finest moments of a block.

    means (S, N, 3); quats (S, N, 4) unit and each in the half of the one before; log_scale (S, N, 3); opacity (S, N); color (S, N, 3).
    """

    means: Tensor
    quats: Tensor
    log_scale: Tensor
    opacity: Tensor
    color: Tensor

    def select(self, rows: Tensor) -> Film:
        """The Gaussians `rows`."""
        return Film(*(x[:, rows] for x in (self.means, self.quats, self.log_scale, self.opacity, self.color)))


def film_of(frames: list[Gaussians]) -> Film:
    """The moments of a block, one after the other."""
    quats = torch.stack([quat_normalize(g.quat_wxyz) for g in frames])
    flips = torch.where((quats[1:] * quats[:-1]).sum(-1, keepdim=True) < 0, -1.0, 1.0).cumprod(0)
    quats = torch.cat([quats[:1], quats[1:] * flips])
    return Film(
        torch.stack([g.means for g in frames]),
        quats,
        torch.stack([g.log_scale for g in frames]),
        torch.stack([g.opacity for g in frames]),
        torch.stack([g.color for g in frames]),
    )


def levels(film: Film, tolerance: Tensor, config: PackConfig) -> Tensor:
    """(N,) level of each Gaussian: the lowest at which nothing is off by more than it may, `HIDDEN` where nothing is seen."""
    seen = film.opacity.amax(0) >= UNSEEN
    result = torch.full((len(seen),), HIDDEN, dtype=torch.int64)
    left = torch.nonzero(seen)[:, 0]
    finest = (len(film.means) - 1).bit_length() - 1
    for level in range(finest + 1):
        some = film.select(left)
        good = _good(some, between(some, level), tolerance[left], config) if level < finest else torch.ones_like(left, dtype=torch.bool)
        result[left[good]] = level
        left = left[~good]
    return result


def between(film: Film, level: int) -> Film:
    """`film` at all its moments as keyframes of `level` give it back, before rounding."""
    moments = len(film.means)
    kept = key_moments(moments, level)
    if level == 0:
        return Film(*(x[kept].expand_as(x) for x in (film.means, film.quats, film.log_scale, film.opacity, film.color)))
    at = torch.arange(moments) / (kept[1] - kept[0])
    left = at.floor().long().clamp_max(len(kept) - 2)
    share = (at - left)[:, None]

    def run(values: Tensor) -> Tensor:
        keys, s = values[kept], share.reshape(-1, *(1,) * (values.ndim - 1))
        return keys[left] + s * (keys[left + 1] - keys[left])

    return Film(run(film.means), quat_normalize(run(film.quats)), run(film.log_scale), run(film.opacity), run(film.color))


def key_moments(moments: int, level: int) -> Tensor:
    """Which of `moments` moments are keyframes of `level`: the middle one alone at level 0."""
    if level == 0:
        return torch.tensor([moments // 2])
    return torch.arange(0, moments, (moments - 1) >> level)


def _good(film: Film, held: Film, tolerance: Tensor, config: PackConfig) -> Tensor:
    """(N,) whether `held` is near enough to `film` wherever it is seen."""
    seen = (film.opacity >= UNSEEN) | (held.opacity >= UNSEEN)
    sizes = film.log_scale.exp()
    spread = sizes.amax(-1) - sizes.amin(-1)
    angle = 2 * (1 - (film.quats * held.quats).sum(-1).square()).clamp_min(0).sqrt()
    place = torch.maximum((film.means - held.means).norm(dim=-1), angle * spread) <= 0.5 * tolerance
    size = ((film.log_scale - held.log_scale).abs() <= LOOK_STEP).all(-1)
    shown = ((film.opacity - held.opacity).abs() <= config.opacity) & ((film.color - held.color).abs() <= config.opacity).all(-1)
    return ((place & size & shown) | ~seen).all(0)


def turned_from(base: Tensor, quats: Tensor) -> Tensor:
    """(K, N, 3) rotation vectors, whole steps, from the unit quaternions `base` (N, 4) to `quats` (K, N, 4)."""
    return (quat_log(quat_multiply(quats, quat_conjugate(base))) / ANGLE_STEP).round()


def turned_by(base: Tensor, steps: Tensor) -> Tensor:
    """The inverse of `turned_from`."""
    return quat_multiply(quat_exp(steps.float() * ANGLE_STEP), base)
