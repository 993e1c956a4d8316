"""Evidence of motion per pixel: what the static scene leaves unexplained, times what the tracks suspect.

Evidence with high recall and explanation with high precision multiply well. Something that moves without ever leaving its place is
absorbed as a blur: there the residual scale is larger than the texture accounts for, and the tracks are sure.
Source: docs/masks.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.priors.still.fit import Explained
from fourfold.priors.still.frames import StillFrame

Image = NDArray[np.float32]


@dataclass(frozen=True)
class EvidenceNumbers:
    """Numbers of the evidence.

    Attributes:
        starts, full: residual over its scale at which evidence begins and is complete.
        blur: pixels over which the ratio is smoothed.
        floor: suspicion that every pixel has: what nothing explains moves even where no track is.
        hole: alpha below which the scene says nothing and the tracks decide.
        absorbed_starts, absorbed_full: residual scale over the usual one of its texture at which something absorbed is suspected.
        bins: classes of texture, by equal numbers of pixels.
        resting: suspicion below which pixels tell the usual scale.
    """

    starts: float = 1.8
    full: float = 4.3
    blur: float = 1.5
    floor: float = 0.05
    hole: float = 0.6
    absorbed_starts: float = 1.4
    absorbed_full: float = 2.8
    bins: int = 12
    resting: float = 0.3


def unexplained(now: Explained, numbers: EvidenceNumbers = EvidenceNumbers()) -> Image:
    """(h, w) in [0, 1]: residual over its scale."""
    ratio = cv2.GaussianBlur(now.residual / now.scale, (0, 0), numbers.blur)
    return np.clip((ratio - numbers.starts) / (numbers.full - numbers.starts), 0, 1).astype(np.float32)


def motion_evidence(frame: StillFrame, now: Explained, numbers: EvidenceNumbers = EvidenceNumbers()) -> Image:
    """(h, w) in [0, 1]: root of suspicion times what is unexplained; where nothing was drawn, the suspicion."""
    both = np.sqrt(np.clip(frame.suspicion + numbers.floor, 0, 1) * unexplained(now, numbers))
    return np.where(now.alpha < numbers.hole, np.clip(frame.suspicion, 0, 1), both).astype(np.float32)


def absorbed_evidence(frames: Sequence[StillFrame], shown: Sequence[Explained], numbers: EvidenceNumbers = EvidenceNumbers()) -> list[Image]:
    """Per frame (h, w) in [0, 1]: root of suspicion times the larger of what is unexplained and a residual scale beyond the texture's."""
    edges, usual = _usual_scale(frames, shown, numbers)
    result: list[Image] = []
    for frame, now in zip(frames, shown, strict=True):
        expected = np.interp(_texture(frame), edges, usual)
        ratio = cv2.GaussianBlur(now.scale, (0, 0), 2.0) / expected
        high = np.clip((ratio - numbers.absorbed_starts) / (numbers.absorbed_full - numbers.absorbed_starts), 0, 1)
        either = np.maximum(high, unexplained(now, numbers))
        result.append(np.sqrt(np.clip(frame.suspicion, 0, 1) * either).astype(np.float32))
    return result


def _texture(frame: StillFrame) -> Image:
    """(h, w) how much the image changes within a few pixels: deviation of its grey levels, 0 to 1."""
    grey = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    mean = cv2.GaussianBlur(grey, (0, 0), 2.0)
    return np.sqrt(np.maximum(cv2.GaussianBlur(grey * grey, (0, 0), 2.0) - mean * mean, 0))


def _usual_scale(
    frames: Sequence[StillFrame], shown: Sequence[Explained], numbers: EvidenceNumbers
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middle texture and median residual scale of each class of texture, over resting pixels of the training images."""
    trained = [n for n, frame in enumerate(frames) if frame.train]
    trained = trained[:: max(1, len(trained) // 24)]
    texture, scale, rests = (
        np.concatenate([a[::2, ::2].ravel() for a in arrays])
        for arrays in (
            [_texture(frames[n]) for n in trained],
            [shown[n].scale for n in trained],
            [frames[n].suspicion < numbers.resting for n in trained],
        )
    )
    if rests.sum() > 100 * numbers.bins:
        texture, scale = texture[rests], scale[rests]
    order = np.argsort(texture, kind="stable")
    parts = np.array_split(order, numbers.bins)
    return np.array([np.median(texture[p]) for p in parts]), np.array([np.median(scale[p]) for p in parts])
