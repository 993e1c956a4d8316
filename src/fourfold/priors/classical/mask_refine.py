"""From evidence to masks with sharp outlines: components kept over time, GrabCut per frame, a colour model pooled over all frames, GrabCut again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Mask = NDArray[np.uint8]
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class RefineConfig:
    """Numbers of the mask clean-up; lengths are shares of the image width.

    Attributes:
        strong, weak: a component of evidence above `weak` is kept if it reaches `strong` somewhere.
        seen: grey levels by which motion must explain a component better than rest, on average.
        area: smallest component, share of the image.
        lasting: share of the neighbouring frames (within `window`) in which a component must overlap a component.
        window: frames before and after that are asked.
        ring: how far outside the seeds GrabCut may look.
        certain: evidence above which pixels this far (`core`) inside the region are taken as moving for certain.
        core: see `certain`.
        doubtless: evidence below which GrabCut may not look.
        rounds: rounds of the pooled colour model.
        telling: share of the moving pixels that the pooled colours must call moving for them to be used at all.
        unlikely: share of the pooled colours below which a pixel is not certain, however far inside.
        opening, closing: side of the final morphology.
        trust: least overlap (IoU) of a refined component mask with its seeds; below it the seeds are kept.
        hole: largest hole that is closed, share of the image.
        band: half width of the "do not use" border.
    """

    strong: float = 0.6
    weak: float = 0.4
    seen: float = 3.5
    area: float = 0.0012
    lasting: float = 0.5
    window: int = 2
    ring: float = 0.03
    certain: float = 0.55
    core: float = 0.01
    doubtless: float = 0.1
    rounds: int = 2
    telling: float = 0.8
    unlikely: float = 0.3
    opening: float = 0.008
    closing: float = 0.02
    trust: float = 0.65
    hole: float = 0.003
    band: float = 0.004


def refine_masks(evidence: NDArray[np.float32], images: Sequence[Image], pooled: NDArray[np.bool_], config: RefineConfig = RefineConfig()) -> Mask:
    """(T, H, W) uint8 masks, 1 moving.

    Args:
        evidence: (T, H, W) in [0, 1].
        images: T RGB images.
        pooled: (T,) frames whose colours may be learnt from (training frames).
    """
    seeds = lasting_components(np.stack([_components(e, config) for e in evidence]), config)
    if not seeds.any():
        return seeds
    masks = np.stack([_first_cut(*frame, config) for frame in zip(images, seeds, evidence, strict=True)])
    for _ in range(config.rounds):
        learn = [i for i in np.flatnonzero(pooled) if masks[i].any()]
        share = colour_share([images[i] for i in learn], [masks[i] for i in learn])
        if not learn or _recall(share, [images[i] for i in learn], [masks[i] for i in learn]) < config.telling:
            break
        masks = np.stack([_second_cut(*frame, share, config) for frame in zip(images, masks, strict=True)])
    return np.stack([_filled(mask, config) for mask in masks])


def with_band(mask: Mask, config: RefineConfig = RefineConfig()) -> NDArray[np.int8]:
    """(H, W) int8: +1 inside, -1 outside, 0 along the border."""
    half = max(1, round(config.band * mask.shape[1]))
    kernel = np.ones((2 * half + 1, 2 * half + 1), np.uint8)
    sure, reach = cv2.erode(mask, kernel, borderType=cv2.BORDER_REPLICATE), cv2.dilate(mask, kernel)
    return np.where(sure > 0, 1, np.where(reach > 0, 0, -1)).astype(np.int8)


def lasting_components(seeds: Mask, config: RefineConfig) -> Mask:
    """Drop components that overlap nothing in most of the neighbouring frames: noise does not last."""
    count = len(seeds)
    kept = np.zeros_like(seeds)
    reach = _disc(config.ring, seeds.shape[2])
    grown = [cv2.dilate(s, reach) for s in seeds]
    for t in range(count):
        _, labels = cv2.connectedComponents(seeds[t])
        others = [grown[o] for o in range(max(0, t - config.window), min(count, t + config.window + 1)) if o != t]
        for label in range(1, labels.max() + 1):
            component = labels == label
            if not others or np.mean([bool(o[component].any()) for o in others]) >= config.lasting:
                kept[t][component] = 1
    return kept


def colour_share(images: Sequence[Image], masks: Sequence[Mask]) -> NDArray[np.float32]:
    """(16, 32, 32) share of moving pixels among those of each Lab colour bin, pooled over images; 0 where a colour was never seen."""
    counts = np.zeros((2, 16, 32, 32), np.float32)
    for image, mask in zip(images, masks, strict=True):
        bins = _bins(image)
        inside, outside = cv2.erode(mask, np.ones((3, 3), np.uint8)) > 0, cv2.dilate(mask, np.ones((7, 7), np.uint8)) == 0
        for row, chosen in enumerate((inside, outside)):
            np.add.at(counts[row], tuple(b[chosen] for b in bins), 1)
    moving, resting = gaussian_filter(counts[0], 0.7), gaussian_filter(counts[1], 0.7)
    return (moving / (moving + resting + 1e-3) * (moving + resting > 0.5)).astype(np.float32)


def _bins(image: Image) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    lab = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2LAB).astype(np.intp)
    return lab[..., 0] // 16, lab[..., 1] // 8, lab[..., 2] // 8


def _components(evidence: NDArray[np.float32], config: RefineConfig) -> Mask:
    """Hysteresis: components above `weak` that reach `strong` and are large enough."""
    smooth = cv2.GaussianBlur(evidence, (0, 0), 0.004 * evidence.shape[1] + 0.3)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((smooth > config.weak).astype(np.uint8))
    strong = np.bincount(labels[smooth > config.strong], minlength=count)
    large = stats[:, cv2.CC_STAT_AREA] >= config.area * evidence.size
    keep = large & (strong >= 0.15 * stats[:, cv2.CC_STAT_AREA])
    keep[0] = False
    return keep[labels].astype(np.uint8)


def _disc(share: float, width: int) -> Mask:
    side = 2 * max(1, round(share * width)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def keep_seen_moving(evidence: NDArray[np.float32], gain: NDArray[np.float32], config: RefineConfig = RefineConfig()) -> NDArray[np.float32]:
    """(H, W) evidence without the components in which motion explains the images no better than rest (`gain`, grey levels)."""
    count, labels = cv2.connectedComponents((evidence > config.weak).astype(np.uint8))
    size = np.maximum(np.bincount(labels.ravel(), minlength=count), 1)
    mean = np.bincount(labels.ravel(), weights=gain.ravel(), minlength=count) / size
    drop = mean < config.seen
    drop[0] = False
    return np.where(drop[labels], 0, evidence).astype(np.float32)


def _recall(share: NDArray[np.float32], images: Sequence[Image], masks: Sequence[Mask]) -> float:
    """Share of the moving pixels whose colour is called moving."""
    inside = [share[_bins(image)][mask > 0] > 0.6 for image, mask in zip(images, masks, strict=True)]
    return float(np.concatenate(inside).mean())


def _certain(seed: Mask, evidence: NDArray[np.float32], config: RefineConfig) -> Mask:
    return cv2.erode(((evidence > config.certain) & (seed > 0)).astype(np.uint8), _disc(config.core, seed.shape[1]), borderType=cv2.BORDER_REPLICATE)


def _first_cut(image: Image, seed: Mask, evidence: NDArray[np.float32], config: RefineConfig) -> Mask:
    """GrabCut from the evidence alone."""
    if not seed.any():
        return seed
    labels = np.full(seed.shape, cv2.GC_BGD, np.uint8)
    labels[(cv2.dilate(seed, _disc(config.ring, seed.shape[1])) > 0) & (evidence > config.doubtless)] = cv2.GC_PR_BGD
    labels[seed > 0] = cv2.GC_PR_FGD
    labels[_certain(seed, evidence, config) > 0] = cv2.GC_FGD
    return _guarded(_cut(image, labels, 4), seed, config)


def _second_cut(image: Image, mask: Mask, share: NDArray[np.float32], config: RefineConfig) -> Mask:
    """GrabCut from the pooled colours near the mask."""
    if not mask.any():
        return mask
    width = mask.shape[1]
    near = cv2.dilate(mask, _disc(1.5 * config.ring, width))
    likely = cv2.GaussianBlur(share[_bins(image)], (0, 0), 1.0)
    coloured = likely > 0.6
    core = cv2.erode(mask, _disc(1.5 * config.core, width)) & (likely > config.unlikely)
    start = _touching(((coloured & (near > 0)) | (core > 0)).astype(np.uint8), mask)
    if not start.any():
        return mask
    labels = np.full(mask.shape, cv2.GC_BGD, np.uint8)
    labels[cv2.dilate(start, _disc(0.4 * config.ring, width)) > 0] = cv2.GC_PR_BGD
    labels[start > 0] = cv2.GC_PR_FGD
    labels[core > 0] = cv2.GC_FGD
    return _guarded(_cut(image, labels, 3), mask, config)


def _cut(image: Image, labels: Mask, iterations: int) -> Mask:
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(np.ascontiguousarray(image[..., ::-1]), labels, None, *models, iterations, cv2.GC_INIT_WITH_MASK)
    return ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.uint8)


def _guarded(cut: Mask, before: Mask, config: RefineConfig) -> Mask:
    """Clean a cut; where it lost or flooded a component, keep what was there before."""
    width = cut.shape[1]
    cut = cv2.morphologyEx(cut, cv2.MORPH_OPEN, _disc(config.opening / 2, width))
    cut = cv2.morphologyEx(_touching(cut, before), cv2.MORPH_CLOSE, _disc(config.closing / 2, width))
    _, labels = cv2.connectedComponents(cv2.dilate(before | cut, np.ones((3, 3), np.uint8)))
    result = np.zeros_like(cut)
    for label in range(1, labels.max() + 1):
        region = labels == label
        a, b = cut[region] > 0, before[region] > 0
        agree = (a & b).sum() / max(1, (a | b).sum())
        result[region] = a if agree >= config.trust else b
    return _large(result, config)


def _touching(mask: Mask, other: Mask) -> Mask:
    """Components of `mask` that share a pixel with `other`."""
    count, labels = cv2.connectedComponents(mask)
    keep = np.zeros(count, bool)
    keep[np.unique(labels[(other > 0) & (mask > 0)])] = True
    keep[0] = False
    return keep[labels].astype(np.uint8)


def _filled(mask: Mask, config: RefineConfig) -> Mask:
    """Small holes closed: an eye of another colour moves with its face."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(1 - mask)
    small = stats[:, cv2.CC_STAT_AREA] < config.hole * mask.size
    small[0] = False
    return (mask | small[labels]).astype(np.uint8)


def _large(mask: Mask, config: RefineConfig) -> Mask:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    keep = stats[:, cv2.CC_STAT_AREA] >= 0.5 * config.area * mask.size
    keep[0] = False
    return keep[labels].astype(np.uint8)
