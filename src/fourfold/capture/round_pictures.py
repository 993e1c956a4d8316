"""Pictures that no flat camera makes and whose files do not say so: a fisheye's circle, the two circles of a camera that sees all around, and the
unrolled sphere (equirectangular), whose right edge goes on at its left one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.glimpses import Burst


@dataclass(frozen=True)
class RoundLimits:
    """Numbers of the search, for 8-bit levels.

    Attributes:
        small: longer side of the pictures that are looked at, pixels.
        black: brightest level outside a circle.
        least: share of the picture that must lie outside it; a circle in a square leaves 0.21.
        agree: intersection over union of what is black and what lies outside the circle.
        rim: share of the radius at the rim that is left out, where lenses darken.
        wide: width over height of an unrolled sphere and of two circles, up to `off`.
        seam: difference over the seam, in usual differences of neighbouring columns.
        apart: usual difference, levels, of columns an eighth of the width apart; with less the seam tells nothing.
        texture: standard deviation, levels, of the columns at the seam; with less they may be bars.
    """

    small: int = 512
    black: int = 20
    least: float = 0.1
    agree: float = 0.9
    rim: float = 0.03
    wide: float = 2.0
    off: float = 0.02
    seam: float = 2.0
    apart: float = 8.0
    texture: float = 8.0


def lens_circles(seen: Sequence[Burst], limits: RoundLimits = RoundLimits()) -> list[NDArray[np.bool_]]:
    """What is inside the circle of a fisheye as one (H, W) bool, or two circles side by side as two; empty for other pictures."""
    if len(seen) < 2:
        return []
    brightest = np.max([image.max(axis=2) for pair in seen for image in pair], axis=0)
    height, width = brightest.shape
    if (whole := _inside_circle(brightest, limits)) is not None:
        return [whole]
    if abs(width / height - limits.wide) > 0.2:
        return []
    parts = _inside_circle(brightest[:, : width // 2], limits), _inside_circle(brightest[:, width - width // 2 :], limits)
    return [p for p in parts if p is not None] if all(p is not None for p in parts) else []


def _inside_circle(brightest: NDArray[np.uint8], limits: RoundLimits) -> NDArray[np.bool_] | None:
    height, width = brightest.shape
    seen = brightest > limits.black
    columns, rows = np.flatnonzero(seen.mean(axis=0) > 0.02), np.flatnonzero(seen.mean(axis=1) > 0.02)
    if not len(columns) or not len(rows):
        return None
    middle, radius = ((columns[0] + columns[-1]) / 2, (rows[0] + rows[-1]) / 2), max(columns[-1] - columns[0], rows[-1] - rows[0]) / 2 + 1
    y, x = np.mgrid[:height, :width]
    far = np.hypot(x - middle[0], y - middle[1])
    outside, dark = far > radius, ~seen
    if outside.mean() < limits.least or (outside & dark).sum() < limits.agree * (outside | dark).sum():
        return None
    return far <= radius * (1 - limits.rim)


def unrolled_sphere(seen: Sequence[Burst], limits: RoundLimits = RoundLimits()) -> bool:
    """Whether all pictures are twice as wide as high and go on over their left and right edge."""
    images = [first for first, _ in seen]
    if len(images) < 2 or abs(images[0].shape[1] / images[0].shape[0] - limits.wide) > limits.off:
        return False
    return all(_goes_round(image, limits) for image in images)


def _goes_round(image: NDArray[np.uint8], limits: RoundLimits) -> bool:
    height, width = image.shape[:2]
    scale = min(1.0, limits.small / width)
    grey = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA).astype(np.float32).mean(axis=2)
    near = float(np.median(np.abs(np.diff(grey, axis=1)).mean(axis=0)))
    far = float(np.median(np.abs(grey - np.roll(grey, grey.shape[1] // 8, axis=1)).mean(axis=0)))
    seam = float(np.abs(grey[:, 0] - grey[:, -1]).mean())
    textured = min(float(grey[:, 0].std()), float(grey[:, -1].std())) >= limits.texture
    return textured and far >= limits.apart and seam <= limits.seam * near and seam <= far / 3
