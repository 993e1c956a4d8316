"""Depth of one image at a time onto the scale of the capture's cameras.

A network's metres, or its units without a name, become scene units by one factor per image: the closed form of `geometry.alignment.scale_only`
over static pixels whose depth the cameras tell (the capture's own depth, or the plane sweep), after pixels that disagree with the median ratio
are left out (spec priors_monocular.md section 3). Images with too few of them take their view's median factor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.geometry.alignment import scale_only
from fourfold.geometry.projection import camera_rays, pixel_grid
from fourfold.priors.contracts import Depth, Masks, PointMaps, Priors, Provenance
from fourfold.priors.depth.plane_sweep import static_depth


@dataclass(frozen=True)
class ScaleNumbers:
    """confidence: of a reference pixel. fewest: reference pixels an image needs. agree: relative difference from the median ratio that counts."""

    confidence: float = 0.25
    fewest: int = 50
    agree: float = 0.2


@dataclass(frozen=True)
class ViewDepth:
    """What a network says about one view: depth (T, H, W) float32, 0 unknown, in its own units, and confidence (T, H, W) in [0, 1]."""

    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]


def in_scene_units(
    capture: Capture, priors: Priors, views: list[ViewDepth], name: str, metric: bool, numbers: ScaleNumbers = ScaleNumbers()
) -> tuple[Depth, PointMaps]:
    """Depth and point maps on the scale of the cameras.

    Args:
        priors: masks and cameras, where there are any.
        metric: the network claims metres. Where nothing tells the cameras' scale its units are kept as they are.

    Returns:
        `Depth` and `PointMaps`. `provenance.figures`: "scale" is "scene" or "relative", "metric" is the network's claim, "factors" the median
        factor per view and "factor_spread" the relative spread of the factors over time (a steady network has little).
    """
    reference = _reference(capture, priors)
    factors = [_factors(v, reference.depth[i], reference.confidence[i], numbers) for i, v in enumerate(views)]
    known = np.concatenate(factors)
    scaled = bool(np.isfinite(known).any())
    general = float(np.nanmedian(known)) if scaled else 1.0
    depth, middle, spread = [], [], []
    for view, factor in zip(views, factors, strict=True):
        own = float(np.nanmedian(factor)) if np.isfinite(factor).any() else general
        middle.append(round(own, 6))
        spread.append(float(np.nanstd(factor) / own) if np.isfinite(factor).any() else 0.0)
        depth.append(view.depth * np.where(np.isfinite(factor), factor, own).astype(np.float32)[:, None, None])
    units = "metres" if metric else "units"
    note = () if scaled else (f"nothing tells the scale of the cameras, the depth of {name} is kept in its own {units}",)
    figures = {"scale": "scene" if scaled else "relative", "metric": metric, "factors": middle, "factor_spread": round(max(spread, default=0.0), 4)}
    provenance = Provenance(name, needs_weights=True, notes=note, figures=figures)
    sure = tuple(v.confidence.astype(np.float16) for v in views)
    return Depth(provenance, tuple(depth), sure), PointMaps(provenance, tuple(point_map(capture, i, d) for i, d in enumerate(depth)), sure)


def point_map(capture: Capture, view: int, depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """(T, H, W, 3) points in the camera's axes behind every pixel of `depth` (T, H, W); NaN where it is 0 or the camera unknown."""
    grid = pixel_grid(*depth.shape[1:], dtype=torch.float64)
    maps = np.full((*depth.shape, 3), np.nan, np.float32)
    for time, K in enumerate(capture.K[view]):
        if np.isfinite(K).all() and depth[time].any():
            rays = camera_rays(grid, torch.from_numpy(np.asarray(K))).numpy()
            maps[time] = np.where(depth[time][..., None] > 0, rays * depth[time][..., None], np.nan)
    return maps


def _reference(capture: Capture, priors: Priors) -> Depth:
    """Depth that the cameras tell, confidence 0 on what moves or is not known; its confidence is 0 throughout for a camera that stood still."""
    if priors.depth is not None:
        return priors.depth
    return static_depth(capture, priors.require(Masks), priors.cameras)


def _factors(view: ViewDepth, reference: NDArray[np.floating], sure: NDArray[np.floating], numbers: ScaleNumbers) -> NDArray[np.float64]:
    """(T,) factor per image, NaN where too few reference pixels are known."""
    factors = np.full(len(view.depth), np.nan)
    for time, depth in enumerate(view.depth):
        there = np.asarray(reference[time], np.float64)
        good = (np.asarray(sure[time]) > numbers.confidence) & (there > 0) & (depth > 0) & np.isfinite(depth)
        if good.sum() < numbers.fewest:
            continue
        own, there = depth[good].astype(np.float64), there[good]
        ratio = there / own
        median = np.median(ratio)
        close = np.abs(ratio / median - 1) < numbers.agree
        nearer = torch.from_numpy(1 / own[close])  # disparities: near things decide, far ones are uncertain in both
        factors[time] = 1 / float(scale_only(nearer, torch.from_numpy(1 / there[close]))) if close.any() else median
    return factors
