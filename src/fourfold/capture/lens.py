"""Lens distortion and how it is removed: OpenCV's pinhole (k1, k2, p1, p2, k3..k6, s1..s4, two tilts) and fisheye (k1..k4) models.

Source of both models: OpenCV's camera calibration documentation. OpenCV puts pixel centres at whole numbers; `K` here puts them at +0.5,
so half a pixel is taken off on the way in and put back on the way out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

LensModel = Literal["none", "pinhole", "fisheye"]
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Lens:
    """Distortion of one camera.

    Attributes:
        model: "none", "pinhole" (Brown-Conrady with optional further terms) or "fisheye" (equidistant polynomial).
        coefficients: pinhole in OpenCV's order k1, k2, p1, p2[, k3[, k4, k5, k6[, s1, s2, s3, s4[, tilts]]]]; fisheye k1, k2, k3, k4.
    """

    model: LensModel = "none"
    coefficients: tuple[float, ...] = ()

    @property
    def bends(self) -> bool:
        """Whether there is anything to undo. A fisheye with zero coefficients still bends."""
        return self.model == "fisheye" or (self.model == "pinhole" and any(abs(c) > 0 for c in self.coefficients))

    @property
    def for_opencv(self) -> Matrix:
        """The coefficients with zeros behind them, as many as OpenCV takes: 4 of a fisheye; 4, 5, 8, 12 or 14 of a pinhole."""
        counts = (4,) if self.model == "fisheye" else (4, 5, 8, 12, 14)
        count = next((n for n in counts if n >= len(self.coefficients)), counts[-1])
        return np.array((*self.coefficients, *(0.0,) * count)[:count])


STRAIGHT = Lens()


def pinhole(k1: float = 0.0, k2: float = 0.0, p1: float = 0.0, p2: float = 0.0, k3: float = 0.0, *, further: tuple[float, ...] = ()) -> Lens:
    """A Brown-Conrady lens; `further` is (k4, k5, k6) of its denominator, then the thin prism s1..s4, then the tilt of the sensor."""
    coefficients = (k1, k2, p1, p2, k3, *further)
    return Lens("pinhole", tuple(float(c) for c in coefficients)) if any(coefficients) else STRAIGHT


def fisheye(k1: float = 0.0, k2: float = 0.0, k3: float = 0.0, k4: float = 0.0) -> Lens:
    """An equidistant fisheye lens."""
    return Lens("fisheye", (float(k1), float(k2), float(k3), float(k4)))


def straightened(lens: Lens, K: Matrix, size: tuple[int, int]) -> Matrix:
    """(3, 3) intrinsics of the image without distortion: the widest view in which every pixel was seen.

    Args:
        lens: what bends.
        K: (3, 3) intrinsics of the distorted image, pixel centres at +0.5.
        size: width and height, pixels, of both images.
    """
    if not lens.bends:
        return K
    inner = _shift(K, -0.5)
    if lens.model == "fisheye":
        found = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(inner, lens.for_opencv, size, np.eye(3), balance=0.0)
    else:
        found, _ = cv2.getOptimalNewCameraMatrix(inner, lens.for_opencv, size, 0.0)
    found = np.asarray(found, dtype=np.float64)
    zoom = found[0, 0] / K[0, 0], found[1, 1] / K[1, 1]
    # A polynomial that folds over inside the image gives nonsense here: then the focal length stays as it was.
    if not np.isfinite(found).all() or min(zoom) < 0.2 or max(zoom) > 5.0:
        return K
    return _shift(found, 0.5)


def undistorter(lens: Lens, K: Matrix, straight: Matrix, size: tuple[int, int]) -> Callable[[NDArray[Any], bool], NDArray[Any]]:
    """A function (image, nearest) -> image of the same size as seen by `straight` without distortion.

    Colours are interpolated linearly; labels and depth (`nearest`) are picked. Pixels never seen become 0.
    """
    if not lens.bends:
        return lambda image, nearest: image
    inner, outer = _shift(K, -0.5), _shift(straight, -0.5)
    if lens.model == "fisheye":
        maps = cv2.fisheye.initUndistortRectifyMap(inner, lens.for_opencv, np.eye(3), outer, size, cv2.CV_32FC1)
    else:
        maps = cv2.initUndistortRectifyMap(inner, lens.for_opencv, np.eye(3), outer, size, cv2.CV_32FC1)

    def apply(image: NDArray[Any], nearest: bool) -> NDArray[Any]:
        how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        return cv2.remap(np.ascontiguousarray(image), maps[0], maps[1], how, borderMode=cv2.BORDER_CONSTANT, borderValue=0)

    return apply


def _shift(K: Matrix, by: float) -> Matrix:
    moved = np.array(K, dtype=np.float64)
    moved[:2, 2] += by
    return moved
