"""Metrics over time: flicker of what stands still, and keypoints carried from one image to another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError
from fourfold.evaluation.image_metrics.pixels import Image, check_pair

STILL = 4 / 255
"""Largest change of any channel between neighbouring true images of a pixel that stands still: above sensor noise and compression, below motion."""


def flicker(images: Sequence[Image], truths: Sequence[Image], still: float = STILL) -> float | None:
    """How much a standing camera's renders change where nothing changes: mean of |(r_t+1 - r_t) - (g_t+1 - g_t)| over still pixels.

    A pixel is still between two neighbouring moments if no channel of the truth g changes by more than `still`. It is the warping error
    of Lai et al. 2018 ("Learning blind video temporal consistency", section 4.1, equation 6, in its L1 form) with the truth's flow
    known to be zero, less the truth's own noise. Images are (H, W, 3) in [0, 1], in temporal order.

    Returns:
        A value in [0, 2], 0 for the truth itself; None with fewer than two images or where nothing stands still.
    """
    if len(images) != len(truths):
        raise FourfoldError(f"flicker got {len(images)} renders for {len(truths)} true images: there must be one each")
    total, count = 0.0, 0
    for (before, after), (g_before, g_after) in zip(pairwise(images), pairwise(truths), strict=True):
        check_pair(before, g_before)
        check_pair(after, g_after)
        change = g_after.astype(np.float64) - g_before
        quiet = np.abs(change).max(axis=-1) <= still
        difference = np.abs(after.astype(np.float64) - before - change).mean(axis=-1)
        total += float(difference[quiet].sum())
        count += int(quiet.sum())
    return total / count if count else None


def pck_t(estimate: NDArray[Any], truth: NDArray[Any], size: tuple[int, int], ratio: float = 0.05) -> float | None:
    """Share of transferred keypoints within `ratio` of the longer image side of their annotation.

    Args:
        estimate, truth: (P, 2) pixels of keypoints visible in both images, transferred and annotated.
        size: width and height of the image.

    mean [ |x_est - x_gt| < ratio max(W, H) ]; None without points. Source: DyCheck (Gao et al. 2022) section 4, PCK-T with alpha = 0.05.
    """
    if estimate.shape != truth.shape or estimate.ndim != 2 or estimate.shape[1] != 2:
        raise FourfoldError(f"PCK-T got points of shape {estimate.shape} and {truth.shape}, expected the same (P, 2)")
    if len(truth) == 0:
        return None
    distance = np.linalg.norm(np.asarray(estimate, np.float64) - truth, axis=-1)
    return float((distance < ratio * max(size)).mean())
