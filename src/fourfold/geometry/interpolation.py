"""Smooth interpolation between knots in time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from fourfold.errors import FourfoldError
from fourfold.geometry.host import known_on_host, on_host, sent

MOST_KEPT = 2048
"""Rows of matrices that `cubic_matrix` keeps for one tensor of knots."""
_rows = WeakTensorKeyDictionary()  # knots -> (their version, moment -> row)


def cubic_weights(knots: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Nonuniform Catmull-Rom weights: value(t_q) = sum_j weights[q, j] * values[indices[q, j]].

    A cubic Hermite piece between two knots whose slope at an inner knot is that of the parabola through it and its neighbours, at an
    end knot that of the adjacent chord. Exact on knots, reproduces linear functions, continuous velocity. Two knots give a straight
    line, one knot a constant; times outside are clamped to the ends.

    Args:
        knots: (K,) strictly increasing seconds, K >= 1.
        times: (Q,) seconds.

    Returns:
        indices (Q, 4) int64 into the knots (an unused neighbour repeats an end with weight 0) and weights (Q, 4).

    Raises:
        FourfoldError: there is no knot, or the knots do not increase.
    """
    count = knots.shape[0]
    told, asked = on_host(knots), known_on_host(times)
    if told is not knots and asked is not None:  # known there: some seventy launches less
        indices, weights = cubic_weights(told, asked)
        return sent(indices, times.device), sent(weights, times.device)
    if count == 0 or bool((told[1:] <= told[:-1]).any()):
        raise FourfoldError(f"interpolation got {count} knots that do not strictly increase; give at least one and sort them")
    if count == 1:
        weights = times.new_zeros(len(times), 4)
        weights[:, 1] = 1.0
        return torch.zeros(len(times), 4, dtype=torch.int64, device=times.device), weights
    times = times.to(knots.dtype).clamp(knots[0], knots[-1])
    left = torch.searchsorted(knots, times, right=True).sub(1).clamp(0, count - 2)
    indices = (left[:, None] + torch.arange(-1, 3, device=left.device)).clamp(0, count - 1)
    step = knots.diff()
    before, here, after = step[(left - 1).clamp_min(0)], step[left], step[(left + 1).clamp_max(count - 2)]
    u = (times - knots[left]) / here
    slope_left = _inner_slope(before, here, left > 0, first=True) * here[:, None]
    slope_right = _inner_slope(here, after, left < count - 2, first=False) * here[:, None]
    ends = torch.stack([torch.zeros_like(u), (1 + 2 * u) * (1 - u) ** 2, u * u * (3 - 2 * u), torch.zeros_like(u)], dim=-1)
    return indices, ends + (u * (1 - u) ** 2)[:, None] * slope_left + (u * u * (u - 1))[:, None] * slope_right


def cubic_matrix(knots: Tensor, times: Tensor) -> Tensor:
    """(Q, K) dense form of `cubic_weights`: `matrix @ values` interpolates values (K, ...) flattened to (K, C).

    Training asks for the same moments again and again, most of them knots, and some fifty small operations of torch would answer each time; on the
    CPU the rows of moments are kept, those of the knots from the first time on.
    """
    told, asked = on_host(knots), known_on_host(times)
    if told is not knots and asked is not None:
        return sent(cubic_matrix(told, asked), times.device)
    if knots.device.type != "cpu" or times.device.type != "cpu" or knots.requires_grad or times.requires_grad:
        return _dense(knots, times)
    held: tuple[int, dict[tuple[torch.dtype, float], Tensor]] | None = _rows.get(knots)
    if held is None or held[0] != knots._version:
        held = _rows[knots] = knots._version, dict[tuple[torch.dtype, float], Tensor]()
        if times.dtype == knots.dtype and 2 * len(knots) <= MOST_KEPT:
            held[1].update(zip([(knots.dtype, knot) for knot in knots.tolist()], _dense(knots, knots).unbind(), strict=True))
    kept, moments = held[1], [(times.dtype, moment) for moment in times.tolist()]
    if any(moment not in kept for moment in moments):
        if len(kept) + len(moments) > MOST_KEPT:
            kept.clear()
        kept |= zip(moments, _dense(knots, times).unbind(), strict=True)
    return torch.stack([kept[moment] for moment in moments]) if moments else _dense(knots, times)


def _dense(knots: Tensor, times: Tensor) -> Tensor:
    indices, weights = cubic_weights(knots, times)
    return weights.new_zeros(len(times), knots.shape[0]).scatter_add(1, indices, weights)


def _inner_slope(before: Tensor, after: Tensor, inner: Tensor, first: bool) -> Tensor:
    """(Q, 4) weights of the slope at a knot with spacing `before` and `after`; the chord on the inside where the knot is an end.

    `first`: the knot is the left one of the piece (column 1), else the right one (column 2).
    """
    total = before + after
    low, high = -after / (before * total), before / (after * total)
    middle = -(low + high)
    inside = after if first else before
    chord = 1.0 / inside
    zero = torch.zeros_like(before)
    if first:
        parabola, straight = [low, middle, high, zero], [zero, -chord, chord, zero]
    else:
        parabola, straight = [zero, low, middle, high], [zero, -chord, chord, zero]
    return torch.where(inner[:, None], torch.stack(parabola, dim=-1), torch.stack(straight, dim=-1))
