"""A network's relative disparity as depth: scaled and shifted, image by image, onto what the cameras tell of the still scene.

Shape of Motion's way (spec priors_monocular.md section 3): robust scale and shift over still pixels, in disparities, so that near things decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.geometry.alignment import median_scale_shift, scale_shift
from fourfold.notices import fallback
from fourfold.priors.contracts import Cameras, Depth, Disparity, Masks, Priors, Provenance
from fourfold.priors.depth.plane_sweep import static_depth
from fourfold.priors.depth_range import near_far
from fourfold.priors.providers import Provider, all_providers

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class DisparityNumbers:
    """How a disparity is aligned.

    Attributes:
        sure: confidence from which a pixel of the reference counts; fewest: such pixels that an image needs, others take their view's median.
        agree: relative differences within which a pixel agrees, one after another.
        farthest: depth is bounded by this many times the reference's farthest: beyond, disparities are about 0 and tell nothing.
    """

    sure: float = 0.25
    fewest: int = 50
    agree: tuple[float, ...] = (0.2, 0.1, 0.05)
    farthest: float = 4.0


def depth_of_disparity(
    capture: Capture,
    disparity: Disparity,
    masks: Masks,
    cameras: Cameras | None,
    numbers: DisparityNumbers = DisparityNumbers(),
    onto: Depth | None = None,
) -> Depth:
    """Depth of every training image in scene units, confidence 1 where there is a disparity.

    Args:
        onto: the depth whose still, confident pixels tell scale and shift; None for that of the plane sweep.

    FourfoldError never: a view of which nothing is known keeps a nominal scale, which is said.
    """
    reference = static_depth(capture, masks, cameras) if onto is None else onto
    stacks: list[NDArray[np.float32]] = []
    for view in range(capture.views):
        times = np.flatnonzero(capture.train[view] & capture.present[view])
        there, sure = np.asarray(reference.depth[view], np.float64), np.asarray(reference.confidence[view])
        usable = (sure > numbers.sure) & (there > 0) & (masks.mask[view] <= 0) & (np.asarray(disparity.disparity[view]) > 0)
        stacks.append(_view(capture, view, times, (np.asarray(disparity.disparity[view], np.float64), there, usable), numbers))
    known = tuple((stack > 0).astype(np.float16) for stack in stacks)
    near, far = near_far(Depth(Provenance("scaled_disparity"), tuple(stacks), known))
    figures = {"near": near, "far": far, "disparity": disparity.provenance.provider}
    return Depth(Provenance("scaled_disparity", needs_weights=disparity.provenance.needs_weights, figures=figures), tuple(stacks), known)


def _view(
    capture: Capture, view: int, times: NDArray[np.intp], maps: tuple[Array, Array, NDArray[np.bool_]], numbers: DisparityNumbers
) -> NDArray[np.float32]:
    """(T, H, W) depth of one view; `maps` are its disparity, the reference's depth, and the pixels that count."""
    own, there, usable = maps
    found = np.full((len(own), 2), np.nan)
    for time in times:
        if usable[time].sum() >= numbers.fewest:
            source, target = (torch.from_numpy(values[time][usable[time]]) for values in (own, 1 / np.maximum(there, 1e-12)))
            found[time] = fitted(source, target, numbers)
    good = np.isfinite(found).all(1) & (found[:, 0] > 0)
    if not good.any():
        if len(times):
            fallback(f"nothing tells the scale of the disparity of view {capture.view_names[view]!r}: it is taken as one over the depth")
        typical, farthest = np.array([1.0, 0.0]), np.inf
    else:
        typical = np.median(found[good], axis=0)
        farthest = numbers.farthest * float(there[usable].max())
    depth = np.zeros(own.shape, np.float32)
    for time in times:
        scale, shift = found[time] if good[time] else typical
        inverse = scale * own[time] + shift
        depth[time] = np.where(own[time] > 0, 1 / np.maximum(inverse, 1 / farthest if np.isfinite(farthest) else 1e-6), 0)
    return depth


def fitted(source: Tensor, target: Tensor, numbers: DisparityNumbers) -> tuple[float, float]:
    """Scale and shift of `source` onto `target`, both (P,) disparities: by medians, then by least squares of those that agree, step by step."""
    scale, shift = median_scale_shift(source, target)
    for agree in numbers.agree:
        close = (scale * source + shift - target).abs() < agree * target
        if int(close.sum()) >= numbers.fewest:
            scale, shift = scale_shift(source[close], target[close])
    return float(scale), float(shift)


def _missing(capture: Capture) -> str | None:
    return None if any("disparity" in p.makes and p.missing(capture) is None for p in all_providers()) else ""


def _make(capture: Capture, priors: Priors) -> list[Depth]:
    return [depth_of_disparity(capture, priors.require(Disparity), priors.require(Masks), priors.cameras)]


PROVIDERS = (Provider("scaled_disparity", ("depth",), ("masks", "cameras", "disparity"), 36, _missing, _make, named=True),)
