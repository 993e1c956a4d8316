"""From a map of what probably moves to a mask with sharp outlines: GrabCut in each frame, then components that are large and sure enough."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CutNumbers:
    """Numbers of the outlines.

    Attributes:
        rests, likely, sure: evidence below which a pixel rests for certain, above which it probably moves, and moves for certain.
        blur: pixels over which the evidence is smoothed.
        seeds: fewest pixels of each certainty for the colours to be asked.
        rounds: of GrabCut.
        area: smallest component, share of the image.
        peak: a component must reach this evidence somewhere.
    """

    rests: float = 0.08
    likely: float = 0.35
    sure: float = 0.7
    blur: float = 1.2
    seeds: int = 20
    rounds: int = 3
    area: float = 0.0015
    peak: float = 0.6


def cut(image: NDArray[np.uint8], evidence: NDArray[np.float32], numbers: CutNumbers = CutNumbers()) -> NDArray[np.bool_]:
    """(h, w) which pixels of `image` (h, w, 3) RGB move, from `evidence` (h, w) in [0, 1]."""
    smooth = cv2.GaussianBlur(evidence.astype(np.float32), (0, 0), numbers.blur)
    labels = np.full(smooth.shape, cv2.GC_PR_BGD, np.uint8)
    labels[smooth > numbers.likely] = cv2.GC_PR_FGD
    labels[smooth > numbers.sure] = cv2.GC_FGD
    labels[smooth < numbers.rests] = cv2.GC_BGD
    if min(int((labels == cv2.GC_FGD).sum()), int((labels == cv2.GC_BGD).sum())) > numbers.seeds:
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.setRNGSeed(0)
        cv2.grabCut(np.ascontiguousarray(image[..., ::-1]), labels, None, *models, numbers.rounds, cv2.GC_INIT_WITH_MASK)
    mask = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask)
    peaks = np.zeros(count)
    np.maximum.at(peaks, parts.ravel(), evidence.ravel())
    keep = (stats[:, cv2.CC_STAT_AREA] >= numbers.area * mask.size) & (peaks >= numbers.peak)
    keep[0] = False
    return keep[parts]


def with_band(mask: NDArray[np.uint8] | NDArray[np.bool_], share: float = 0.004) -> NDArray[np.int8]:
    """(H, W) int8: +1 inside `mask` (H, W), -1 outside, 0 within `share` of the width of the border, where nobody should rely on it."""
    half = max(1, round(share * mask.shape[1]))
    kernel, moving = np.ones((2 * half + 1, 2 * half + 1), np.uint8), (mask > 0).astype(np.uint8)
    sure, reach = cv2.erode(moving, kernel, borderType=cv2.BORDER_REPLICATE), cv2.dilate(moving, kernel)
    return np.where(sure > 0, 1, np.where(reach > 0, 0, -1)).astype(np.int8)
