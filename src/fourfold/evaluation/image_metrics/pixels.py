"""Differences of pixels: PSNR, mask overlap, and what all image metrics share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError

Image = NDArray[np.floating[Any]]


def psnr(image: Image, truth: Image, mask: NDArray[Any] | None = None) -> float | None:
    """Peak signal-to-noise ratio in dB of `image` (H, W, 3) against `truth`, both in [0, 1].

    -10 log10(sum m |a - b|^2 / (3 sum m)); the mask (H, W) defaults to 1 everywhere, and with one this is DyCheck's mPSNR. None if the
    mask is empty or the images are equal to the last bit (the ratio is then infinite). Source: spec evaluation_and_datasets.md section 1.
    """
    check_pair(image, truth, mask)
    error = ((image.astype(np.float64) - truth.astype(np.float64)) ** 2).mean(axis=-1)
    if mask is None:
        mean = float(error.mean())
    else:
        weight = mask.astype(np.float64)
        if weight.sum() == 0:
            return None
        mean = float((error * weight).sum() / weight.sum())
    return None if mean == 0 else -10.0 * float(np.log10(mean))


def mask_iou(estimate: NDArray[Any], truth: NDArray[Any]) -> float | None:
    """Intersection over union of two boolean masks; None if both are empty."""
    a, b = estimate.astype(bool), truth.astype(bool)
    union = int((a | b).sum())
    return None if union == 0 else float((a & b).sum() / union)


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are there, None if there are none."""
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def rounded(image: Image) -> NDArray[np.float64]:
    """(H, W, 3) `image` as an 8-bit file holds it: clamped to [0, 1] and rounded to whole 255ths."""
    return np.floor(np.clip(image, 0, 1).astype(np.float64) * 255 + 0.5) / 255


def check_pair(image: Image, truth: Image, mask: NDArray[Any] | None = None) -> None:
    """FourfoldError unless both images are of one shape (H, W, 3) and the mask, if there is one, is (H, W)."""
    if image.shape != truth.shape or image.ndim != 3:
        raise FourfoldError(f"the images to compare have shapes {image.shape} and {truth.shape}, expected the same (H, W, 3)")
    if mask is not None and mask.shape != image.shape[:2]:
        raise FourfoldError(f"the mask has shape {mask.shape}, expected that of the images, {image.shape[:2]}")
