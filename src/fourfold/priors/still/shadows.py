"""Shadows told from bodies: a shadow darkens what stands still by one factor in all colours and leaves its texture where it was."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


@dataclass(frozen=True)
class ShadowNumbers:
    """Numbers of the test.

    Attributes:
        darkest, brightest: brightness against the static scene's that a shadow leaves, at least and at most.
        tint: largest spread of the three colours' factors, over their mean.
        window: side in pixels of the windows in which textures are compared.
        textured: deviation of grey levels (0 to 1) above which a window has a texture to compare.
        like: least correlation of the textures.
        agree: share of a pixel's surroundings that must be shadow, too.
    """

    darkest: float = 0.35
    brightest: float = 0.94
    tint: float = 0.14
    window: int = 9
    textured: float = 0.02
    like: float = 0.7
    agree: float = 0.6


def shadows(image: Image, still: Image, numbers: ShadowNumbers = ShadowNumbers()) -> NDArray[np.bool_]:
    """(h, w) where `image` (h, w, 3) is a shadow on `still` (h, w, 3), both RGB in [0, 1].

    Only a textured ground tells a shadow from a body: a plain dark thing before a plain ground stays a body.
    """
    size = (numbers.window, numbers.window)
    factor = cv2.blur(image, size) / np.maximum(cv2.blur(still, size), 0.02)
    mean = factor.mean(-1)
    spread = (factor.max(-1) - factor.min(-1)) / np.maximum(mean, 1e-3)
    darker = (mean > numbers.darkest) & (mean < numbers.brightest) & (spread < numbers.tint)
    ours, theirs = (cv2.cvtColor(np.clip(a, 0, 1), cv2.COLOR_RGB2GRAY) for a in (image, still))
    own, other = (_variance(g, size) for g in (ours, theirs))
    shared = cv2.blur(ours * theirs, size) - cv2.blur(ours, size) * cv2.blur(theirs, size)
    alike = shared > numbers.like * np.sqrt(np.maximum(own * other, 1e-12))
    candidate = darker & alike & (other > numbers.textured**2)
    return cv2.blur(candidate.astype(np.float32), size) > numbers.agree


def _variance(grey: Image, size: tuple[int, int]) -> Image:
    mean = cv2.blur(grey, size)
    return np.maximum(cv2.blur(grey * grey, size) - mean * mean, 0)
