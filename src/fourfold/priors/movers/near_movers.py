"""What the depth of a mover is near a place of the image at about a moment: an average of its logarithm over pixels and images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class NearNumbers:
    """How far near is.

    Attributes:
        images: sigma over time, in training images; reach: sigmas beyond which an image does not count.
        width: sigma over the image, as a share of its longer side.
        coarse: sides of the pixels in which the average is taken, in pixels: it changes slowly.
    """

    images: float = 4.0
    reach: float = 2.5
    width: float = 0.05
    coarse: int = 4


def near_depths(images: Iterable[tuple[Array, Array]], numbers: NearNumbers = NearNumbers()) -> Iterator[tuple[Array, Array]]:
    """For each of the neighbouring `images`, depth (H, W) and its weight (H, W), 0 where nothing is known: the geometric mean (H, W) of the depth
    around each pixel and moment, and the mean (H, W) of the weights there, which says how much was near."""
    sums: list[Array] = []
    size = (0, 0)
    for depth, weight in images:
        size = depth.shape
        sums.append(_spread(depth, weight, numbers))
    away = int(numbers.images * numbers.reach)
    for place in range(len(sums)):
        near = np.arange(max(0, place - away), min(len(sums), place + away + 1))
        share = np.exp(-0.5 * ((near - place) / numbers.images) ** 2).astype(np.float32)
        total = np.tensordot(share / share.sum(), np.stack([sums[other] for other in near]), 1)
        mean, much = (cv2.resize(one, size[::-1], interpolation=cv2.INTER_LINEAR) for one in (total[0] / np.maximum(total[1], 1e-12), total[1]))
        yield np.exp(mean), much


def _spread(depth: Array, weight: Array, numbers: NearNumbers) -> Array:
    """(2, h, w) coarse sums around each pixel: of the weighted logarithm of the depth, and of the weights."""
    height, width = depth.shape
    both = np.dstack([weight * np.log(np.maximum(depth, 1e-12)), weight]).astype(np.float32)
    coarse = cv2.resize(both, (-(-width // numbers.coarse), -(-height // numbers.coarse)), interpolation=cv2.INTER_AREA)
    sigma = numbers.width * max(height, width) / numbers.coarse
    return cv2.GaussianBlur(coarse, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT).transpose(2, 0, 1)
