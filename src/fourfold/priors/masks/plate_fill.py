"""What the plate probably shows where it was never trusted: the known surroundings, smoothed over as far as needed, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from fourfold.priors.masks.plate import Plate
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


def filled_plate(plate: Plate, numbers: FillNumbers = FillNumbers()) -> Plate:
    """A plate of the colours (H, W, 3) known around each pixel and, as its scale (H, W), how much they differ among each other."""
    weight = np.square(plate.known)
    color, spread = np.zeros_like(plate.color), np.zeros_like(plate.scale)
    left = np.ones_like(plate.scale)
    for reach in numbers.reaches:
        mean, deviation, sure = _around(plate.color, weight, reach)
        last = reach == numbers.reaches[-1]
        share = left if last else left * np.clip(sure / numbers.enough, 0, 1)
        color += share[..., None] * mean
        spread += share * deviation
        left = left - share
    return Plate(color, spread + np.float32(numbers.least), plate.known)


def _around(color: Image, weight: Image, reach: float) -> tuple[Image, Image, Image]:
    """Weighted mean (H, W, 3) and mean deviation (H, W) of the colours within `reach`, and the mean weight (H, W)."""
    total = cv2.GaussianBlur(weight, (0, 0), reach)
    safe = total[..., None] + np.float32(1e-6)
    mean = cv2.GaussianBlur(color * weight[..., None], (0, 0), reach) / safe
    square = cv2.GaussianBlur(np.square(color) * weight[..., None], (0, 0), reach) / safe
    return mean, np.sqrt(np.maximum(square - np.square(mean), 0)).mean(-1), total
