"""What a plate probably shows where it is not known: the known surroundings, smoothed over as far as needed, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from fourfold.priors.masks.plate_frames import Image


@dataclass(frozen=True)
class FillNumbers:
    """Numbers of the filling.

    Attributes:
        reaches: deviations in pixels of the neighbourhoods that are asked, near ones first.
        enough: mean knowledge of a neighbourhood at which it answers fully.
        least: colour difference to the surroundings that even a uniform wall has.
    """

    reaches: tuple[float, ...] = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
    enough: float = 0.25
    least: float = 0.03


def surroundings(color: Image, known: Image, numbers: FillNumbers = FillNumbers()) -> tuple[Image, Image]:
    """The colours (H, W, 3) around each pixel of those that are `known` (H, W) in [0, 1], and how much they differ among each other (H, W)."""
    weight = np.square(known)
    found, spread = np.zeros_like(color), np.zeros_like(known)
    left = np.ones_like(known)
    for reach in numbers.reaches:
        mean, deviation, sure = _around(color, weight, reach)
        last = reach == numbers.reaches[-1]
        share = left if last else left * np.clip(sure / numbers.enough, 0, 1)
        found += share[..., None] * mean
        spread += share * deviation
        left = left - share
    return found, spread + np.float32(numbers.least)


def _around(color: Image, weight: Image, reach: float) -> tuple[Image, Image, Image]:
    """Weighted mean (H, W, 3) and mean deviation (H, W) of the colours within `reach`, and the mean weight (H, W)."""
    total = cv2.GaussianBlur(weight, (0, 0), reach)
    safe = total[..., None] + np.float32(1e-6)
    mean = cv2.GaussianBlur(color * weight[..., None], (0, 0), reach) / safe
    square = cv2.GaussianBlur(np.square(color) * weight[..., None], (0, 0), reach) / safe
    return mean, np.sqrt(np.maximum(square - np.square(mean), 0)).mean(-1), total
