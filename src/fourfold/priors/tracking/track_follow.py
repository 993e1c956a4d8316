"""Following one query frame's points through a clip: flow and neighbours predict, the query frame's own patches decide.

Every position comes from a match with the query frame, so errors do not add up; where a patch has changed too much, the frame before
helps out. A hidden point moves with its neighbours and is found again where its patch is seen there. Source: spec himor_4dgs360.md 5.1.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.priors.tracking.track_local import LocalConfig, Neighbourhood, local_motion, neighbourhood
from fourfold.priors.tracking.track_step import Points, neighbour_motion, sample
from fourfold.priors.tracking.track_template import TemplateConfig, Templates, align, alike, make_templates

UNDECIDED = 2
"""Label of pixels that the mask calls 0, do not use: no track starts there, a moving one may pass."""


@dataclass(frozen=True)
class FollowConfig:
    """Numbers of following points. Pixels refer to an image whose longer side is 640.

    Attributes:
        template: matching with patches.
        local: prediction from neighbours.
        seen: correlation with the query frame above which a point that was seen is still seen.
        found: correlation above which a hidden point is seen again.
        doubtful: correlation with the query frame below which the frame before may not help out.
        steady: correlation with the frame before above which it does.
        astray, astray_share: a point may be this many pixels plus this share of its motion from where its neighbours say it is.
        edge_on: share of its area in the query frame below which a patch is seen edge-on and called hidden.
    """

    template: TemplateConfig = field(default_factory=TemplateConfig)
    local: LocalConfig = field(default_factory=LocalConfig)
    seen: float = 0.6
    found: float = 0.7
    doubtful: float = 0.0
    steady: float = 0.7
    astray: float = 16.0
    astray_share: float = 0.2
    edge_on: float = 0.12


@dataclass(frozen=True)
class Clip:
    """One view made ready: time indices, smoothed grey frames (H, W) float32, labels (H, W) uint8 (1 moving, 0 background, 2 undecided,
    255 unusable), where moving points may be (`widened`), and flow between neighbours."""

    times: list[int]
    frames: list[NDArray[np.float32]]
    labels: list[NDArray[np.uint8]]
    near_moving: list[NDArray[np.bool_]]
    forward: list[NDArray[np.float32]]
    backward: list[NDArray[np.float32]]

    @property
    def unit(self) -> float:
        """Pixels per pixel of an image whose longer side is 640."""
        return max(self.frames[0].shape) / 640

    def fits(self, index: int, xy: Points, group: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether points (N, 2) are inside frame `index` and on their group's side of the mask (2 px of tolerance for moving ones)."""
        label = self.labels[index]
        height, width = label.shape
        inside = (xy >= 0).all(axis=1) & (xy[:, 0] < width) & (xy[:, 1] < height)
        column, row = np.clip(xy[:, 0].astype(int), 0, width - 1), np.clip(xy[:, 1].astype(int), 0, height - 1)
        return inside & np.where(group == 1, self.near_moving[index][row, column], label[row, column] == 0)


@dataclass
class _State:
    """Tracks under way: position (N, 2), whether seen (N,), last motion (N, 2), change of the patch (N, 2, 2), score (N,)."""

    xy: Points
    seen: NDArray[np.bool_]
    motion: Points
    shape: NDArray[np.float32]
    score: NDArray[np.float32]


def widened(label: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(H, W) bool, within 2 px of a moving pixel, or undecided."""
    return (cv2.dilate((label == 1).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0) | (label == UNDECIDED)


def follow_both_ways(clip: Clip, query: int, points: Points, group: NDArray[np.int32], config: FollowConfig) -> tuple[Points, NDArray[np.float32]]:
    """(N, n, 2) positions and (N, n) scores (0 hidden) in all n frames of points (N, 2) of frame `query`."""
    count = len(clip.frames)
    xy = np.repeat(points[:, None], count, axis=1)
    score = np.zeros((len(points), count), np.float32)
    score[:, query] = 1
    templates = make_templates(clip.frames[query], clip.labels[query], points, group, config.template)

    def go(step: int) -> None:
        near = neighbourhood(points, group, config.local)
        still = np.tile(np.eye(2, dtype=np.float32), (len(points), 1, 1))
        state = _State(points.copy(), np.ones(len(points), bool), np.zeros_like(points), still, np.ones(len(points), np.float32))
        for index in range(query + step, count if step > 0 else -1, step):
            _advance(clip, index - step, index, templates, group, near, state, config)
            xy[:, index] = state.xy
            score[:, index] = np.where(state.seen, np.maximum(state.score, 0.05), 0)

    with ThreadPoolExecutor(max_workers=2) as pool:  # forwards and backwards have nothing in common but the query frame
        list(pool.map(go, (1, -1)))
    return xy, score


def _advance(
    clip: Clip, before: int, now: int, templates: Templates, group: NDArray[np.int32], near: Neighbourhood, state: _State, config: FollowConfig
) -> None:
    """Move all tracks from frame `before` to its neighbour `now`, in place."""
    old, old_shape = state.xy, state.shape
    moved, predicted, shape = _predict(clip, before, now, group, near, state, config)
    image = clip.frames[now]
    xy, score = align(image, templates, predicted, shape, predicted, config.template)
    limit = config.astray * clip.unit + config.astray_share * np.linalg.norm(predicted - old, axis=1)
    weak = np.flatnonzero(state.seen & ((score < config.seen) | (np.linalg.norm(xy - predicted, axis=1) > limit)))
    other, better = align(image, templates.rows(weak), moved[weak], shape[weak], moved[weak], config.template)
    take = (better > score[weak]) & (np.linalg.norm(other - predicted[weak], axis=1) < limit[weak])
    xy[weak[take]], score[weak[take]] = other[take], better[take]
    possible = (np.linalg.norm(xy - predicted, axis=1) <= limit) & (np.linalg.det(shape) > config.edge_on)
    flat = templates.deviation < config.template.flat
    good = possible & np.where(flat, state.seen, score > np.where(state.seen, config.seen, config.found))
    score = np.where(flat, 0.5, np.clip(score, 0, 1))

    rest = np.flatnonzero(state.seen & ~good & (np.linalg.det(shape) > config.edge_on))
    relative = shape[rest] @ np.linalg.inv(old_shape[rest])
    recent = make_templates(clip.frames[before], clip.labels[before], old[rest], group[rest], config.template)
    chained, steady = align(image, recent, predicted[rest], relative, predicted[rest], config.template)
    first = alike(image, templates.rows(rest), chained, shape[rest])
    helped = (steady > config.steady) & (first > config.doubtful) & (np.linalg.norm(chained - predicted[rest], axis=1) < limit[rest])
    xy[rest[helped]], score[rest[helped]] = chained[helped], np.clip(first[helped], 0.05, 1)
    good[rest[helped]] = True

    good &= clip.fits(now, xy, group)
    state.xy = np.where(good[:, None], xy, predicted).astype(np.float32)
    state.seen, state.score, state.shape, state.motion = good, score.astype(np.float32), shape, state.xy - old


def _predict(
    clip: Clip, before: int, now: int, group: NDArray[np.int32], near: Neighbourhood, state: _State, config: FollowConfig
) -> tuple[Points, Points, NDArray[np.float32]]:
    """Positions by flow alone, by the neighbours, and the patches' change: (N, 2), (N, 2), (N, 2, 2)."""
    flow = clip.forward[before] if now > before else clip.backward[before - 1]
    moved = state.xy + sample(flow, state.xy)
    trust = np.where(state.seen, np.clip(state.score, 0.1, 1), 0).astype(np.float32)
    predicted, shape, enough = local_motion(near, moved, trust, state.shape, clip.unit, config.local)
    seen, alone = np.flatnonzero(state.seen), np.flatnonzero(~enough & ~state.seen)
    carried = neighbour_motion(state.xy[seen], (moved - state.xy)[seen], group[seen], state.xy[alone], group[alone], config.local.neighbours)
    predicted[~enough] = moved[~enough]
    predicted[alone] = state.xy[alone] + np.where(np.isfinite(carried), carried, 0.9 * state.motion[alone])
    shape = np.where(enough[:, None, None], shape, state.shape)
    return moved, predicted, shape
