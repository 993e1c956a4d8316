"""Pixel descriptors without learned weights: what a place looks like at several scales, where on its body it lies, and how it moves.

Chosen so that one body part looks alike from all sides: colours; gradient directions folded at the vertical, for a limb seen from behind
is mirrored; height within the body and width of the limb, which do not depend on where a level camera stands; vertical motion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.priors.tracking.track_step import grey_of

Image = NDArray[np.float32]


@dataclass(frozen=True)
class DescriptorNumbers:
    """What goes into a descriptor; the weights tell how much each group counts beside the others.

    Attributes:
        levels: of the image pyramid; each halves the size and doubles the neighbourhood.
        bins: gradient directions between level and upright.
        cell: side of the window of a gradient histogram, pixels of its level.
        color, gradient, position, motion: weights.
    """

    levels: int = 4
    bins: int = 6
    cell: int = 7
    color: float = 1.0
    gradient: float = 0.6
    position: float = 1.5
    motion: float = 0.5


def describe(
    color: NDArray[np.uint8],
    mover: NDArray[np.bool_],
    flow: NDArray[Any] | None,
    size: tuple[int, int],
    numbers: DescriptorNumbers = DescriptorNumbers(),
) -> tuple[Image, Image]:
    """Descriptors (h, w, D) on a grid of `size` (h, w), not yet standardised, and the weight (D,) of each channel.

    Args:
        color: (H, W, 3) RGB; mover: (H, W) bool, where something moves; flow: (H, W, 2) pixels to the next frame, or None.
    """
    seen = [_colors(color, size, numbers), _gradients(color, size, numbers), _position(mover, size), _motion(flow, mover, size)]
    weights = (numbers.color, numbers.gradient, numbers.position, numbers.motion)
    spread = [np.full(part.shape[-1], weight / np.sqrt(part.shape[-1]), np.float32) for part, weight in zip(seen, weights, strict=True)]
    return np.concatenate(seen, axis=-1).astype(np.float32), np.concatenate(spread)


def _colors(color: NDArray[np.uint8], size: tuple[int, int], numbers: DescriptorNumbers) -> Image:
    """(h, w, 3 levels) CIE Lab of the pyramid."""
    lab = cv2.cvtColor(np.ascontiguousarray(color, np.float32) / np.float32(255), cv2.COLOR_RGB2Lab)
    return np.concatenate([_sized(cv2.GaussianBlur(lab, (0, 0), 2.0**level) if level else lab, size) for level in range(numbers.levels)], axis=-1)


def _gradients(color: NDArray[np.uint8], size: tuple[int, int], numbers: DescriptorNumbers) -> Image:
    """(h, w, bins (levels - 1)) histograms of gradient directions, square roots of shares times strength."""
    grey = grey_of(color).astype(np.float32) / 255
    parts = []
    for _ in range(numbers.levels - 1):
        dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
        strength, angle = np.hypot(dx, dy), np.arctan2(np.abs(dy), np.abs(dx)) / (np.pi / 2) * (numbers.bins - 1)
        stack = np.stack([strength * np.maximum(0, 1 - np.abs(angle - b)) for b in range(numbers.bins)], axis=-1)
        pooled = cv2.boxFilter(stack, -1, (numbers.cell, numbers.cell))
        parts.append(_sized(np.sqrt(np.maximum(pooled, 0)), size))
        grey = cv2.pyrDown(grey)
    return np.concatenate(parts, axis=-1)


def _position(mover: NDArray[np.bool_], size: tuple[int, int]) -> Image:
    """(h, w, 3) height within the connected body (1 top, 0 bottom), how near its middle height, and half-width of the limb over the height."""
    result = np.zeros((*mover.shape, 3), np.float32)
    count, label, box, _ = cv2.connectedComponentsWithStats(mover.astype(np.uint8), connectivity=8)
    inner = cv2.distanceTransform(np.pad(mover, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    rows = np.arange(mover.shape[0], dtype=np.float32)[:, None]
    for body in range(1, count):
        mine = label == body
        top, height = box[body, cv2.CC_STAT_TOP], max(int(box[body, cv2.CC_STAT_HEIGHT]), 1)
        up = 1 - (rows - top) / height
        result[mine] = np.stack([np.broadcast_to(up, mover.shape), 1 - np.abs(2 * np.broadcast_to(up, mover.shape) - 1), 4 * inner / height], -1)[
            mine
        ]
    return _sized(result, size)


def _motion(flow: NDArray[Any] | None, mover: NDArray[np.bool_], size: tuple[int, int]) -> Image:
    """(h, w, 2) speed and upward motion, log-compressed pixels, of what moves."""
    if flow is None:
        return np.zeros((*size, 2), np.float32)
    own = np.asarray(flow, np.float32) * mover[..., None]
    both = np.stack([np.linalg.norm(own, axis=-1), -own[..., 1]], axis=-1)
    smooth = cv2.GaussianBlur(np.sign(both) * np.log1p(np.abs(both)), (0, 0), 2.0)
    return _sized(smooth.astype(np.float32), size)


def _sized(image: NDArray[Any], size: tuple[int, int]) -> Image:
    """(h, w, C) of `image` (H, W[, C]) in `size` (h, w), four channels at a time: OpenCV averages more only over whole numbers of pixels."""
    whole = np.ascontiguousarray(image, np.float32).reshape(*image.shape[:2], -1)
    how = cv2.INTER_AREA if image.shape[0] >= size[0] else cv2.INTER_LINEAR
    groups = (np.ascontiguousarray(whole[..., first : first + 4]) for first in range(0, whole.shape[2], 4))
    return np.concatenate([cv2.resize(group, size[::-1], interpolation=how).reshape(*size, -1) for group in groups], axis=2)
