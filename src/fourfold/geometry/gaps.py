"""Missing moments of an evenly sampled motion, from how this very motion repeats.

A cubic between neighbours knows what is slow. A step, a wing beat or a bob of two or three frames is lost to it, although it is there in all other
moments. So the weights of the neighbours are learned: the best linear interpolation of a stationary series is symmetric in time, and what it
misses is least where weights and missing values are found together (Janssen, Veldhuis, Vries: Adaptive interpolation of discrete-time signals that
can be modeled as autoregressive processes, 1986; two-sided here).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.geometry.interpolation import cubic_matrix

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GapNumbers:
    """How missing moments are filled.

    Attributes:
        reaches: neighbours on either side that may count; which of them, or none, is told by moments that are known.
        trust: the cubic's weights are believed as much as this many windows of the usual size say; few windows change little.
        rounds: of weights and values in turn.
        fewest: known moments without which the cubic stays.
        folds: known moments are hidden in so many parts to choose the reach.
        gain: what is learned must lower the error at hidden moments to this share of the cubic's.
    """

    reaches: tuple[int, ...] = (2, 3)
    trust: float = 8.0
    rounds: int = 15
    fewest: int = 16
    folds: int = 8
    gain: float = 0.8


def gap_weights(judged: Array, known: NDArray[np.bool_], numbers: GapNumbers = GapNumbers()) -> Array:
    """(reach,) weights of the neighbours at each distance that fill the gaps of `judged` best; none, (0,), where cubics do as well.

    Args:
        judged: (T, C) lengths of one motion, rows that are not `known` (T,) of any value.
    """
    if known.sum() < numbers.fewest or known.all():
        return np.zeros(0)
    inner = like_gaps(known)
    errors = np.zeros(1 + len(numbers.reaches))
    for fold in range(numbers.folds):
        hidden = inner[fold :: numbers.folds]
        rest = known.copy()
        rest[hidden] = False
        for place, reach in enumerate((0, *numbers.reaches)):
            weights = _learned(judged, rest, reach, numbers) if reach else np.zeros(0)
            errors[place] += float(np.square(fill_gaps(judged, rest, weights)[hidden] - judged[hidden]).sum())
    errors[1:] /= numbers.gain**2
    reach = (0, *numbers.reaches)[int(errors.argmin())]
    return _learned(judged, known, reach, numbers) if reach else np.zeros(0)


def like_gaps(known: NDArray[np.bool_], apart: int = 3) -> NDArray[np.int64]:
    """Known rows that can be hidden without making a gap longer than those there are: so far `apart` from what is not known, and from the ends."""
    rows = np.flatnonzero(known)
    gone = np.concatenate([np.flatnonzero(~known), [rows[0] - 1, rows[-1] + 1]])
    return rows[np.abs(rows[:, None] - gone[None]).min(axis=1) >= apart]


def fill_gaps(values: Array, known: NDArray[np.bool_], weights: Array) -> Array:
    """(T, C) `values` with the rows that are not `known` filled: by `weights` between the first and the last known row, else by cubics.

    Without weights cubics fill all; before the first and after the last known row they repeat it.
    """
    return _told_by_neighbours(_told_by_cubics(values, known), known, weights)


def _told_by_cubics(values: Array, known: NDArray[np.bool_]) -> Array:
    moments = torch.arange(len(values), dtype=torch.float64)
    through = cubic_matrix(moments[torch.from_numpy(known)], moments).numpy()
    return np.where(known[:, None], values, through @ values[known])


def _told_by_neighbours(filled: Array, known: NDArray[np.bool_], weights: Array) -> Array:
    """`filled` by cubics, with what `weights` tell in place of the missing rows between known ones."""
    inner = np.flatnonzero(known)
    first, last = inner[0], inner[-1] + 1
    missing = ~known[first:last]
    if not (len(weights) and missing.any() and last - first > 2 * len(weights)):
        return filled
    filled = filled.copy()
    operator, part = _operator(last - first, weights), filled[first:last]
    part[missing] = np.linalg.lstsq(operator[:, missing], -operator[:, ~missing] @ part[~missing], rcond=None)[0]
    return filled


def _learned(judged: Array, known: NDArray[np.bool_], reach: int, numbers: GapNumbers) -> Array:
    inner = np.flatnonzero(known)
    cubics = _told_by_cubics(judged, known)
    weights = np.zeros(0)
    for _ in range(numbers.rounds):
        weights = _fitting(_told_by_neighbours(cubics, known, weights)[inner[0] : inner[-1] + 1], reach, numbers.trust)
    return weights


def _fitting(series: Array, reach: int, trust: float) -> Array:
    """(reach,) weights of the sum of the two neighbours at each distance; they sum to one half, so that a straight line is told exactly."""
    weights = np.zeros(reach)
    weights[:2] = 2 / 3, -1 / 6  # the cubic's
    windows = len(series) - 2 * reach
    pairs = np.stack([series[reach + k : reach + k + windows] + series[reach - k : reach - k + windows] for k in range(1, reach + 1)], axis=-1)
    wanted = (series[reach : reach + windows] - pairs @ weights).ravel()
    change = (pairs[..., 1:] - pairs[..., :1]).reshape(len(wanted), reach - 1)
    normal, side = change.T @ change, change.T @ wanted
    usual = np.trace(normal) / ((reach - 1) * max(1, windows))
    better = np.linalg.solve(normal + (trust * usual + 1e-12) * np.eye(reach - 1), side)
    weights[1:] += better
    weights[0] -= better.sum()
    return weights


def _operator(count: int, weights: Array) -> Array:
    """(count - 2 reach, count) what the neighbours miss of each inner row."""
    reach = len(weights)
    rows = np.arange(count - 2 * reach)
    operator = np.zeros((len(rows), count))
    operator[rows, rows + reach] = 1
    for k, weight in enumerate(weights, start=1):
        operator[rows, rows + reach + k] -= weight
        operator[rows, rows + reach - k] -= weight
    return operator
