"""Image metrics: each a function of float images in [0, 1], with its formula."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError

Image = NDArray[np.floating[Any]]
_C1, _C2 = 0.01**2, 0.03**2
_WINDOW, _SIGMA = 11, 1.5


def psnr(image: Image, truth: Image, mask: NDArray[Any] | None = None) -> float | None:
    """Peak signal-to-noise ratio in dB of `image` (H, W, 3) against `truth`, both in [0, 1].

    -10 log10(sum m |a - b|^2 / (3 sum m)); the mask (H, W) defaults to 1 everywhere. None if the mask is empty or the images are equal
    to the last bit (the ratio is then infinite). Source: spec evaluation_and_datasets.md section 1.
    """
    _check(image, truth)
    error = ((image.astype(np.float64) - truth.astype(np.float64)) ** 2).mean(axis=-1)
    if mask is None:
        mean = float(error.mean())
    else:
        weight = mask.astype(np.float64)
        if weight.sum() == 0:
            return None
        mean = float((error * weight).sum() / weight.sum())
    return None if mean == 0 else -10.0 * float(np.log10(mean))


def ssim_map(image: Image, truth: Image) -> NDArray[np.float64]:
    """(H - 10, W - 10, 3) structural similarity with an 11 x 11 Gaussian window of sigma 1.5, data range 1, where the window fits.

    Wang et al. 2004, K1 = 0.01, K2 = 0.03. Images smaller than the window raise FourfoldError.
    """
    _check(image, truth)
    if min(image.shape[:2]) < _WINDOW:
        raise FourfoldError(f"SSIM needs images of at least {_WINDOW} x {_WINDOW} pixels, got {image.shape[1]} x {image.shape[0]}")
    a, b = image.astype(np.float64), truth.astype(np.float64)
    mean_a, mean_b = _blur(a), _blur(b)
    var_a, var_b, cov = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2, _blur(a * b) - mean_a * mean_b
    value = (2 * mean_a * mean_b + _C1) * (2 * cov + _C2) / ((mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2))
    crop = _WINDOW // 2
    return value[crop:-crop, crop:-crop]


def ssim(image: Image, truth: Image) -> float:
    """Mean of `ssim_map` over pixels and channels (SSIM_1: data range 1)."""
    return float(ssim_map(image, truth).mean())


def mask_iou(estimate: NDArray[Any], truth: NDArray[Any]) -> float | None:
    """Intersection over union of two boolean masks; None if both are empty."""
    a, b = estimate.astype(bool), truth.astype(bool)
    union = int((a | b).sum())
    return None if union == 0 else float((a & b).sum() / union)


def mean_of(values: list[float | None]) -> float | None:
    """Mean of the values that are there, None if there are none."""
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _blur(image: Image) -> NDArray[np.float64]:
    return cv2.GaussianBlur(image, (_WINDOW, _WINDOW), _SIGMA)


def _check(image: Image, truth: Image) -> None:
    if image.shape != truth.shape or image.ndim != 3:
        raise FourfoldError(f"the images to compare have shapes {image.shape} and {truth.shape}, expected the same (H, W, 3)")
