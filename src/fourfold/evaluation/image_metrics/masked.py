"""Metrics inside a mask, in DyCheck's form and as the plain mean inside the mask.

Source: DyCheck (Gao et al. 2022, NeurIPS, section 4 and its metrics), spec evaluation_and_datasets.md section 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError
from fourfold.evaluation.image_metrics.pixels import Image, check_pair
from fourfold.evaluation.image_metrics.similarity import SIGMA

WINDOW = 11
Reduction = Literal["dycheck", "mask_mean"]
DistanceMap = Callable[[Image, Image], NDArray[np.floating[Any]]]
"""(H, W, 3) and (H, W, 3) in [0, 1] -> (H, W) distances, for example LPIPS before its mean over pixels."""


def masked_ssim_map(image: Image, truth: Image, mask: NDArray[Any]) -> NDArray[np.float64]:
    """(H - 10, W - 10, 3) SSIM whose windows hold only pixels inside `mask` (H, W): separable partial convolutions, data range 1.

    Along each axis z = conv(x m, g) * 11 / conv(m, 1) where conv(m, 1) > 0 and 0 elsewhere; the second axis takes the first one's reached
    pixels as its mask. Variances are clamped to >= 0 and |covariance| to sqrt(var var). Windows without any masked pixel are exactly 1.
    """
    check_pair(image, truth, mask)
    if min(image.shape[:2]) < WINDOW:
        raise FourfoldError(f"SSIM needs images of at least {WINDOW} x {WINDOW} pixels, got {image.shape[1]} x {image.shape[0]}")
    a, b = image.astype(np.float64), truth.astype(np.float64)
    weight = (mask > 0).astype(np.float64)[..., None]
    mean_a, mean_b = _partial(a, weight), _partial(b, weight)
    var_a = np.maximum(_partial(a * a, weight) - mean_a**2, 0)
    var_b = np.maximum(_partial(b * b, weight) - mean_b**2, 0)
    covariance = _partial(a * b, weight) - mean_a * mean_b
    covariance = np.sign(covariance) * np.minimum(np.sqrt(var_a * var_b), np.abs(covariance))
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mean_a * mean_b + c1) * (2 * covariance + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))


def masked_ssim(image: Image, truth: Image, mask: NDArray[Any], reduction: Reduction = "dycheck") -> float | None:
    """SSIM of `image` against `truth` (H, W, 3) inside `mask` (H, W).

    Args:
        reduction: "dycheck" takes the mean over the whole map, as published: windows without masked pixels count 1, so that a small mask
            scores near 1 whatever is inside. "mask_mean" takes the mean over windows centred inside the mask.

    Returns:
        None where no masked pixel is the centre of a window.
    """
    values = masked_ssim_map(image, truth, mask)
    if reduction == "dycheck":
        return float(values.mean()) if mask.any() else None
    half = WINDOW // 2
    inside = (mask > 0)[half:-half, half:-half]
    return float(values[inside].mean()) if inside.any() else None


def masked_distance(distance: DistanceMap, image: Image, truth: Image, mask: NDArray[Any]) -> float | None:
    """DyCheck's mLPIPS for a spatial `distance`: both images are multiplied by the mask, and the map's mean is taken inside it.

    sum m d(m a, m b) / sum m; None if the mask is empty.
    """
    check_pair(image, truth, mask)
    weight = (mask > 0).astype(np.float64)
    if weight.sum() == 0:
        return None
    values = distance(image * weight[..., None], truth * weight[..., None])
    return float((values * weight).sum() / weight.sum())


def _partial(value: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian mean of `value` (H, W, C) over the pixels of `weight` (H, W, 1) in each 11 x 11 window that fits."""
    taps = np.exp(-((np.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * SIGMA**2))
    taps /= taps.sum()
    for axis in (1, 0):
        reached = _windows(weight, axis) @ np.ones(WINDOW)
        summed = _windows(value * weight, axis) @ taps
        value = np.where(reached > 0, summed * WINDOW / np.maximum(reached, 1e-12), 0.0)
        weight = (reached > 0).astype(np.float64)
    return value


def _windows(value: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return np.lib.stride_tricks.sliding_window_view(value, WINDOW, axis=axis)  # type: ignore[call-overload,no-any-return]
