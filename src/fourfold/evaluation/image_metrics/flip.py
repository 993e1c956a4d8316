"""FLIP: how different two images look when one flips between them. Needs no learned weights.

Andersson, Nilsson, Akenine-Moeller, Oskarsson, Astrom, Fairchild: "FLIP: A Difference Evaluator for Alternating Images", HPG 2020; the
numbers are those of its section 4, for images of low dynamic range.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.evaluation.image_metrics.pixels import Image, check_pair

PIXELS_PER_DEGREE = 0.7 * (3840 / 0.7) * np.pi / 180
"""Of the paper's viewer: 0.7 m before a display that is 0.7 m and 3840 pixels wide."""

Array = NDArray[np.float64]

# Linear sRGB to XYZ under D65, as the ratios of integers that the primaries and the white point give.
_TO_XYZ: Array = np.array(
    [
        [10135552 / 24577794, 8788810 / 24577794, 4435075 / 24577794],
        [2613072 / 12288897, 8788810 / 12288897, 887015 / 12288897],
        [1425312 / 73733382, 8788810 / 73733382, 70074185 / 73733382],
    ]
)
_WHITE: Array = _TO_XYZ.sum(axis=1)
# Contrast sensitivity of the achromatic, red-green and blue-yellow channels: pairs (a, b) of a sqrt(pi / b) exp(-pi^2 x^2 / b), Table 1.
_SENSITIVITY = (((1.0, 0.0047),), ((1.0, 0.0053),), ((34.1, 0.04), (13.5, 0.025)))
_WIDEST = 0.04
_COLOUR_EXPONENT, _FEATURE_EXPONENT = 0.7, 0.5
_KNEE, _KNEE_VALUE = 0.4, 0.95
_FEATURE_DEGREES = 0.082


def flip_map(image: Image, truth: Image, pixels_per_degree: float = PIXELS_PER_DEGREE) -> Array:
    """(H, W) FLIP error in [0, 1] of `image` (H, W, 3) sRGB in [0, 1] against `truth`.

    Delta E = (Delta E_c)^(1 - Delta E_f): the colour difference after blurring by the eye's contrast sensitivity, amplified where edges or
    points appear or vanish.
    """
    check_pair(image, truth)
    a, b = (_opponent(np.clip(i, 0, 1).astype(np.float64)) for i in (image, truth))
    colour = _colour_difference(_seen(a, pixels_per_degree), _seen(b, pixels_per_degree))
    feature = _feature_difference((a[..., 0] + 16) / 116, (b[..., 0] + 16) / 116, pixels_per_degree)
    result: Array = colour ** (1 - feature)
    return result


def flip(image: Image, truth: Image, pixels_per_degree: float = PIXELS_PER_DEGREE) -> float:
    """Mean of `flip_map`: 0 for equal images, 1 at most."""
    return float(flip_map(image, truth, pixels_per_degree).mean())


def _linear(srgb: Array) -> Array:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0.04045) + 0.055) / 1.055) ** 2.4)


def _opponent(srgb: Array) -> Array:
    """sRGB -> YCxCz, the linear opponent space of section 4.1.1."""
    xyz = _linear(srgb) @ _TO_XYZ.T / _WHITE
    return np.stack([116 * xyz[..., 1] - 16, 500 * (xyz[..., 0] - xyz[..., 1]), 200 * (xyz[..., 1] - xyz[..., 2])], -1)


def _from_opponent(value: Array) -> Array:
    """YCxCz -> linear RGB."""
    y = (value[..., 0] + 16) / 116
    xyz = np.stack([value[..., 1] / 500 + y, y, y - value[..., 2] / 200], -1) * _WHITE
    return xyz @ np.linalg.inv(_TO_XYZ).T


def _seen(opponent: Array, pixels_per_degree: float) -> Array:
    """Hunt-adjusted L*a*b* of what the eye resolves: section 4.1.2 and 4.1.3."""
    radius = int(np.ceil(3 * np.sqrt(_WIDEST / (2 * np.pi**2)) * pixels_per_degree))
    x = np.arange(-radius, radius + 1) / pixels_per_degree
    planes: list[Array] = []
    for channel, terms in enumerate(_SENSITIVITY):
        plane = np.zeros(opponent.shape[:2])
        total = 0.0
        for a, b in terms:
            taps = np.sqrt(a * np.sqrt(np.pi / b)) * np.exp(-(np.pi**2) * x**2 / b)
            plane += _convolve(opponent[..., channel], taps, taps)
            total += taps.sum() ** 2
        planes.append(plane / total)
    return _hunt(np.clip(_from_opponent(np.stack(planes, -1)), 0, 1))


def _hunt(linear: Array) -> Array:
    """Linear RGB -> L*a*b* whose chroma fades with lightness (Hunt effect): a* and b* times 0.01 L*."""
    ratio = linear @ _TO_XYZ.T / _WHITE
    step = 6 / 29
    f = np.where(ratio > step**3, np.cbrt(ratio), ratio / (3 * step**2) + 4 / 29)
    lightness = 116 * f[..., 1] - 16
    return np.stack([lightness, 0.01 * lightness * 500 * (f[..., 0] - f[..., 1]), 0.01 * lightness * 200 * (f[..., 1] - f[..., 2])], -1)


def _hyab(a: Array, b: Array) -> Array:
    """Distance of colours far apart: |dL| + |d(a, b)|."""
    difference = a - b
    result: Array = np.abs(difference[..., 0]) + np.hypot(difference[..., 1], difference[..., 2])
    return result


def _colour_difference(a: Array, b: Array) -> Array:
    """Section 4.1.3: compressed by an exponent and stretched over [0, 1], green against blue being the largest."""
    green, blue = (_hunt(np.array(c)) for c in ([[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]))
    largest = float(_hyab(green, blue)[0]) ** _COLOUR_EXPONENT
    value = _hyab(a, b) ** _COLOUR_EXPONENT
    knee = _KNEE * largest
    return np.where(value < knee, _KNEE_VALUE / knee * value, _KNEE_VALUE + (value - knee) / (largest - knee) * (1 - _KNEE_VALUE))


def _feature_difference(a: Array, b: Array, pixels_per_degree: float) -> Array:
    """Section 4.2: the larger difference of edge strength and of point strength of two achromatic images in [0, 1]."""
    deviation = 0.5 * _FEATURE_DEGREES * pixels_per_degree
    radius = int(np.ceil(3 * deviation))
    x = np.arange(-radius, radius + 1, dtype=np.float64)
    bell = np.exp(-(x**2) / (2 * deviation**2))
    differences: list[Array] = []
    for shape in (-x * bell, (x**2 / deviation**2 - 1) * bell):
        positive = shape > 0
        # The kernel is the outer product of `shape` and the bell; its positive part sums to 1 and its negative part to -1.
        taps = np.where(positive, shape / shape[positive].sum(), -shape / shape[~positive].sum()) / bell.sum()
        strengths = [np.hypot(_convolve(i, taps, bell), _convolve(i, bell, taps)) for i in (a, b)]
        differences.append(np.abs(strengths[0] - strengths[1]))
    return (np.maximum(*differences) / np.sqrt(2)) ** _FEATURE_EXPONENT


def _convolve(plane: Array, along_x: Array, along_y: Array) -> Array:
    """Separable correlation; outside the image its edge goes on."""
    return cv2.sepFilter2D(plane, cv2.CV_64F, along_x, along_y, borderType=cv2.BORDER_REPLICATE)  # type: ignore[return-value]
