"""Depths of movers before a camera that stays in place, made as steady as bodies are.

Such a camera tells nothing of how far anything is. What a mover's depth is made of there (how large it looks, a body that fits roughly, a guess where
neither holds) changes by a tenth and more from image to image, and from a head to its shoulders. Each sheet of pixels would stand elsewhere, and from
the side a head would be doubled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Depth, Masks, Priors

Array = NDArray[np.float32]


@dataclass(frozen=True)
class SteadyNumbers:
    """How steady a mover's depth is.

    Attributes:
        images: sigma over time, in training images; reach: sigmas beyond which an image does not count.
        width: sigma over the image, as a share of its longer side.
        doubt: weight of a depth of confidence 0 beside one of confidence 1: it counts where nothing better is near.
        coarse: sides of the pixels in which the average is taken, in pixels: it changes slowly.
    """

    images: float = 4.0
    reach: float = 2.5
    width: float = 0.05
    doubt: float = 0.02
    coarse: int = 4


def steady_movers(capture: Capture, priors: Priors, numbers: SteadyNumbers = SteadyNumbers()) -> Priors:
    """`priors` in which the depth of all that moves is an average of its logarithm over neighbouring pixels of movers and neighbouring training
    images of the view. The same priors where there are no masks or no depth."""
    if priors.depth is None or priors.masks is None:
        return priors
    views = [_steady_view(priors.depth, priors.masks, view, np.flatnonzero(capture.train[view]), numbers) for view in range(len(priors.depth.depth))]
    return replace(priors, depth=replace(priors.depth, depth=tuple(views)))


def _steady_view(depth: Depth, masks: Masks, view: int, times: Sequence[int] | NDArray[np.int64], numbers: SteadyNumbers) -> Array:
    result = np.array(depth.depth[view], np.float32)
    sums = [_spread(result[time], np.asarray(depth.confidence[view][time], np.float32), masks.moving(view, int(time)), numbers) for time in times]
    away = int(numbers.images * numbers.reach)
    for place, time in enumerate(times):
        near = range(max(0, place - away), min(len(sums), place + away + 1))
        weight = np.exp(-0.5 * ((np.array(near) - place) / numbers.images) ** 2).astype(np.float32)
        total = np.tensordot(weight, np.stack([sums[other] for other in near]), 1)
        moving = masks.moving(view, int(time))
        mean = cv2.resize(total[0] / np.maximum(total[1], 1e-12), moving.shape[::-1], interpolation=cv2.INTER_LINEAR)
        result[time] = np.where(moving & (result[time] > 0), np.exp(mean), result[time])
    return result


def _spread(depth: Array, confidence: Array, moving: NDArray[np.bool_], numbers: SteadyNumbers) -> Array:
    """(2, h, w) coarse sums over neighbouring moving pixels: of the weighted logarithm of the depth, and of the weights."""
    weight = np.where(moving & (depth > 0), np.maximum(confidence, numbers.doubt), 0).astype(np.float32)
    both = np.dstack([weight * np.log(np.maximum(depth, 1e-12)), weight])
    height, width = moving.shape
    coarse = cv2.resize(both, (-(-width // numbers.coarse), -(-height // numbers.coarse)), interpolation=cv2.INTER_AREA)
    sigma = numbers.width * max(height, width) / numbers.coarse
    return cv2.GaussianBlur(coarse, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT).transpose(2, 0, 1)
