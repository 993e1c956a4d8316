"""Matches of one moment joined to points seen by several cameras. Source: spec sparse_dynamic_cameras.md section 2.3."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Matches
from fourfold.priors.tracking.track_step import correlation, grey_of, patches


@dataclass(frozen=True)
class Links:
    """P points, each seen by at least two cameras at its own moment.

    Attributes:
        time: (P,) time index of the match.
        xy: (P, V, 2) pixels, NaN in cameras that did not see it.
        confidence: (P,) of the surest match in it.
    """

    time: NDArray[np.int32]
    xy: NDArray[np.float64]
    confidence: NDArray[np.float32]


def link_matches(matches: Matches, views: int, same: float = 1.0) -> Links:
    """Join matches of the same moment that share a pixel of a camera within `same` pixels.

    A join that would give one camera two different pixels is refused; matches are joined in the order of their confidence.
    """
    view_a, time, view_b, time_b = matches.images[matches.pair].T if len(matches.pair) else np.zeros((4, 0), np.int32)
    valid = np.flatnonzero(time == time_b)
    parts = [_link_moment(matches, valid[time[valid] == t], view_a, view_b, views, same) for t in np.unique(time[valid])]
    xy = [np.zeros((0, views, 2)), *(p[0] for p in parts)]
    confidence = [np.zeros(0, np.float32), *(p[1] for p in parts)]
    moments = np.repeat(np.unique(time[valid]), [len(p[0]) for p in parts]).astype(np.int32)
    return Links(moments, np.concatenate(xy), np.concatenate(confidence))


def alike_ends(links: Links, capture: Capture, least: float, side: int) -> Links:
    """Links without the cameras whose patch of `side` pixels correlates less than `least` with that of every other camera of the link."""
    agree = np.zeros(links.xy.shape[:2], bool)
    for time in np.unique(links.time):
        rows = np.flatnonzero(links.time == time)
        ends: dict[int, NDArray[np.float32]] = {}
        for view in np.flatnonzero(np.isfinite(links.xy[rows, :, 0]).any(axis=0)):
            frame = grey_of(np.asarray(capture.image(int(view), int(time))))
            ends[int(view)] = patches(frame, np.nan_to_num(links.xy[rows, view]).astype(np.float32), side)
        for a, b in combinations(ends, 2):
            both = np.isfinite(links.xy[rows, a, 0]) & np.isfinite(links.xy[rows, b, 0])
            good = rows[both & (correlation(ends[a], ends[b]) >= least)]
            agree[good, a] = agree[good, b] = True
    xy = np.where(agree[..., None], links.xy, np.nan)
    keep = agree.sum(axis=1) >= 2
    return Links(links.time[keep], xy[keep], links.confidence[keep])


def strongest(links: Links, most: int) -> Links:
    """At most `most` points: the surest of every moment, as many from each."""
    if len(links.time) <= most:
        return links
    moments, inverse = np.unique(links.time, return_inverse=True)
    order = np.lexsort((-links.confidence, inverse))
    rank = np.arange(len(order)) - np.searchsorted(inverse[order], np.arange(len(moments)))[inverse[order]]
    keep = np.sort(order[rank < max(1, most // len(moments))])
    return Links(links.time[keep], links.xy[keep], links.confidence[keep])


def _link_moment(
    matches: Matches, rows: NDArray[np.intp], view_a: NDArray[np.int32], view_b: NDArray[np.int32], views: int, same: float
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """(P, V, 2) and (P,) of one moment."""
    surest = rows[np.argsort(-matches.confidence[rows].astype(np.float32), kind="stable")]
    table = np.full((len(surest), views, 2), np.nan)
    each = np.arange(len(surest))
    table[each, view_a[surest]] = matches.xy_a[surest]
    table[each, view_b[surest]] = matches.xy_b[surest]
    parent = list(range(len(surest)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for first, second in _sharing(table, same):
        one, other = sorted((root(first), root(second)))
        if one == other:
            continue
        apart = np.linalg.norm(table[one] - table[other], axis=1)
        if (apart > same).any():  # NaN, where either has no pixel, compares false
            continue
        empty = np.isnan(table[one, :, 0])
        table[one, empty] = table[other, empty]
        parent[other] = one
    roots = np.array([row for row in range(len(surest)) if root(row) == row], np.intp)
    return table[roots], matches.confidence[surest][roots].astype(np.float32)


def _sharing(table: NDArray[np.float64], same: float) -> list[tuple[int, int]]:
    """Pairs of matches with pixels of the same camera within `same`, surest first."""
    pairs: set[tuple[int, int]] = set()
    for view in range(table.shape[1]):
        own = np.flatnonzero(np.isfinite(table[:, view, 0]))
        if len(own) > 1:
            found = cKDTree(table[own, view]).query_pairs(same, output_type="ndarray")
            pairs |= {(int(own[i]), int(own[j])) for i, j in found}
    return sorted(pairs)
