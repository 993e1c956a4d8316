"""Every kind of prior of a synthetic capture against its exact truth: one function per contract, `SCORES` by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic import truth_image
from fourfold.evaluation.bench_priors_truth import ExactScene
from fourfold.evaluation.prior_scores import camera_errors, depth_errors, flow_errors, mask_scores
from fourfold.geometry.alignment import scale_shift
from fourfold.priors.contracts import Cameras, Depth, Disparity, Flow, Masks, Matches, PointMaps

Figures = dict[str, float | None]

FLOW_FRAMES = 12
"""Pairs of frames judged per view, spread over the clip."""
FLOW_VIEWS = 4
"""Views whose flow is judged, spread over the capture."""


@dataclass(frozen=True)
class Judge:
    """What a prior is judged by: the capture it was made from (with the cameras in use), and the folder and geometry of the truth."""

    capture: Capture
    base: Path
    scene: ExactScene

    def exact(self, kind: str, view: int) -> NDArray[Any]:
        """True "masks" or "depth" of a view's training frames, (n, H, W)."""
        return np.asarray(truth_image(self.base, kind, view)[self.capture.train[view]])

    @property
    def trained(self) -> list[int]:
        """Views with training frames."""
        return [int(v) for v in np.flatnonzero(self.capture.train.any(axis=1))]


def score_cameras(cameras: Cameras, judge: Judge) -> Figures | None:
    """Errors of the training frames' cameras after the similarity of their centres."""
    train = judge.capture.train
    truth = judge.scene.truth
    view = np.nonzero(train)[0]
    found = camera_errors(cameras.world_to_camera[train], truth.world_to_camera[train], view, cameras.K[train], truth.K[train])
    return None if found is None else dict(found)


def score_masks(masks: Masks, judge: Judge) -> Figures | None:
    """IoU over all training frames."""
    train = judge.capture.train
    mine = [masks.mask[v][train[v]].ravel() for v in judge.trained]
    true = [judge.exact("masks", v).ravel() for v in judge.trained]
    return dict(mask_scores(np.concatenate(mine), np.concatenate(true)))


def score_depth(depth: Depth, judge: Judge) -> Figures | None:
    """Errors over all training frames, and on what moves alone."""
    return _depth_figures([depth.depth[v][judge.capture.train[v]] for v in judge.trained], judge)


def score_pointmaps(maps: PointMaps, judge: Judge) -> Figures | None:
    """Errors of the points' depth."""
    return _depth_figures([np.nan_to_num(maps.xyz[v][judge.capture.train[v]][..., 2]) for v in judge.trained], judge)


def score_disparity(disparity: Disparity, judge: Judge) -> Figures | None:
    """Errors of depth after the best scale and shift of each image's disparity."""
    aligned = []
    for v in judge.trained:
        found, exact = disparity.disparity[v][judge.capture.train[v]].astype(np.float32), judge.exact("depth", v)
        flat, inverse = torch.from_numpy(found.reshape(len(found), -1)), torch.from_numpy(1 / exact.reshape(len(found), -1))
        scale, shift = scale_shift(flat, inverse, (flat > 0).float())
        value = (scale[:, None] * flat + shift[:, None]).clamp_min(1e-3)
        aligned.append(torch.where(flat > 0, 1 / value, 0.0).reshape(found.shape).numpy())
    return _depth_figures(aligned, judge)


def _depth_figures(mine: list[NDArray[Any]], judge: Judge) -> Figures | None:
    depth = np.concatenate([m.astype(np.float32).ravel() for m in mine])
    true = np.concatenate([judge.exact("depth", v).ravel() for v in judge.trained])
    moving = np.concatenate([(judge.exact("masks", v) > 0).ravel() for v in judge.trained])
    everywhere = depth_errors(depth, true)
    if everywhere is None:
        return None
    on_movers = depth_errors(depth, true, moving) or {}
    return {**everywhere, **{f"{name}_moving": value for name, value in on_movers.items()}}


def score_flow(flow: Flow, judge: Judge) -> Figures | None:
    """End-point errors of forward flow where the point is seen in both frames, on what moves, and everywhere inside the next image."""
    found, exact, seen, moving = [], [], [], []
    views = judge.trained
    for v in [views[i] for i in np.unique(np.linspace(0, len(views) - 1, FLOW_VIEWS).round().astype(int))]:
        times = np.flatnonzero(judge.capture.present[v])
        width, height = (int(n) for n in judge.capture.sizes[v])
        rows, columns = np.mgrid[0:height, 0:width]
        pixels = np.stack([columns.ravel(), rows.ravel()], 1) + 0.5
        for i in np.unique(np.linspace(0, len(times) - 2, FLOW_FRAMES).round().astype(int)):
            paths = judge.scene.paths(v, int(times[i]), pixels, at=[int(times[i + 1])])
            found.append(flow.forward[v][times[i]].reshape(-1, 2).astype(np.float32))
            exact.append(paths.xy[:, 0] - pixels)
            seen.append(paths.seen[:, 0])
            moving.append(paths.object_id > 0)
    mine, true, visible, movers = (np.concatenate(x) for x in (found, exact, seen, moving))
    inside = np.isfinite(true).all(axis=1)
    everywhere = flow_errors(mine, true, inside) or {}
    on_movers = flow_errors(mine, true, visible & movers) or {}
    return {**(flow_errors(mine, true, visible) or {}), "epe_moving": on_movers.get("epe"), "epe_with_hidden": everywhere.get("epe")}


def score_matches(matches: Matches, judge: Judge) -> Figures | None:
    """Distance of each match from where the point of the first image truly is in the second."""
    error = np.full(len(matches.pair), np.inf)
    for row, (va, ta, vb, tb) in enumerate(matches.images.tolist()):
        own = np.flatnonzero(matches.pair == row)
        if len(own):
            owner, local = judge.scene.first_hits(va, ta, matches.xy_a[own])
            xy, _ = judge.scene.observe(vb, tb, judge.scene.places(owner, local, [tb])[:, 0])
            error[own] = np.nan_to_num(np.linalg.norm(xy - matches.xy_b[own], axis=1), nan=np.inf)
    if not len(error):
        return None
    return {"matches": float(len(error)), "median": float(np.median(error)), "within_2px": 100 * float((error < 2).mean())}


ImageScore = Callable[[Any, Judge], Figures | None]
