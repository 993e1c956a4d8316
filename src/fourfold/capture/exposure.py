"""Exposure and white balance that change during a recording: a gain per frame and channel that makes the images steady.

Of consecutive frames, brought onto each other by their optical flow, the median ratio of the pixels that are neither black nor clipped is the change
of gain: what comes into view or changes by itself are few pixels between two frames. Gains multiply the encoded numbers, as a change of exposure
nearly does (a power of the light). Clipped pixels stay clipped.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

CONTRAST = 48.0  # levels of one standard deviation in the images by which motion is found
SMALL = (160, 90)
"""Width and height of the images by which gains are measured."""


@dataclass(frozen=True)
class ExposureLimits:
    """When a change is one of exposure.

    Attributes:
        darkest: level below which a pixel is not looked at.
        brightest: level above which a pixel is not looked at.
        least_pixels: share of the image that must be left.
        step: smallest change between two frames, as a logarithm, that counts; below it is noise and the scene's own change.
        agree: largest spread (median absolute deviation of the logarithms) of the pixels' ratios: more is a change of the scene.
        range: largest gain over the smallest from which frames are corrected.
        texture: standard deviation, levels, of an image that shows enough: a plain one may as well be a fade.
    """

    darkest: float = 16.0
    brightest: float = 235.0
    least_pixels: float = 0.25
    step: float = 0.01
    agree: float = 0.08
    range: float = 1.12
    texture: float = 4.0


def small_image(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image (H, W, 3) as gains are measured on it."""
    return cv2.resize(np.ascontiguousarray(image), SMALL, interpolation=cv2.INTER_AREA)


@dataclass
class Steadying:
    """Changes of gain from image to image, as they come; only the last image is kept."""

    limits: ExposureLimits = field(default_factory=ExposureLimits)
    last: NDArray[np.uint8] | None = None
    steps: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, image: NDArray[np.uint8]) -> None:
        """The next image (H, W, 3)."""
        small = small_image(image)
        self.steps.append(np.zeros(3) if self.last is None else _step(self.last, small, self.limits))
        self.last = small

    def gains(self) -> NDArray[np.float64] | None:
        """(N, 3) factors by which the images are multiplied to be as bright as the middle one of them; None where they are steady.

        A step whose pixels do not agree, such as a cut, changes nothing.
        """
        if len(self.steps) < 3:
            return None
        brightness = np.cumsum(self.steps, axis=0)
        brightness -= np.median(brightness, axis=0)
        return np.exp(-brightness) if float(np.exp(np.ptp(brightness, axis=0)).max()) >= self.limits.range else None


def _step(first: NDArray[np.uint8], second: NDArray[np.uint8], limits: ExposureLimits) -> NDArray[np.float64]:
    """(3,) change of the logarithm of the gain from one frame to the next, 0 where it is small or not sure."""
    if min(float(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).std()) for image in (first, second)) < limits.texture:
        return np.zeros(3)
    before, after = first.astype(np.float32), second.astype(np.float32)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(_even(after), _even(before), np.empty(0))
    rows, columns = np.mgrid[: SMALL[1], : SMALL[0]].astype(np.float32)
    moved = cv2.remap(before, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(-1, -1, -1))
    found = np.zeros(3)
    for channel in range(3):
        a, b = moved[..., channel], after[..., channel]
        good = (a > limits.darkest) & (b > limits.darkest) & (a < limits.brightest) & (b < limits.brightest)
        if good.mean() < limits.least_pixels:
            return np.zeros(3)
        ratio = np.log(b[good] / a[good]).astype(np.float64)
        found[channel] = np.median(ratio)
        if np.median(np.abs(ratio - found[channel])) > limits.agree:
            return np.zeros(3)
    return np.where(np.abs(found).max() > limits.step, found, 0.0)


def _even(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A grey image of fixed brightness and contrast, so that the motion is found whatever the gain."""
    grey = image.mean(axis=2)
    return np.clip(128 + CONTRAST * (grey - grey.mean()) / max(float(grey.std()), 1e-3), 0, 255).astype(np.uint8)


def corrected(image: NDArray[np.uint8], gain: NDArray[np.float64]) -> NDArray[np.uint8]:
    """An image (H, W, 3), or a grey one (H, W), times its gains (3,)."""
    factor = gain if image.ndim == 3 else gain.mean()
    return np.clip(np.round(image * factor), 0, 255).astype(np.uint8)


def words(found: NDArray[np.float64]) -> str:
    """What is done, for the report."""
    span = float((found.max(axis=0) / found.min(axis=0)).max())
    relative = found / found.mean(axis=1, keepdims=True)
    tint = float((relative.max(axis=0) / relative.min(axis=0)).max())
    balance = f", the colour balance by a factor of {tint:.2f}" if tint > 1.05 else ""
    return f"the exposure changes by a factor of {span:.2f}{balance}: frames are multiplied to be as bright as the middle one of them"
