"""Frames that stay on a GPU as the bytes that they are on disk, and samples made of them there.

What the loader would else convert and upload at every step (15 MB for an image of 960x540 with depth and masks) is uploaded once, less than a
third of it; what is not held any more is uploaded again. On the CPU nothing is held: frames are memory-mapped files. The twin is
`batch._make_sample`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Priors

RESIDENT_BYTES = 2_000_000_000
"""Frames held on a device at most: some 480 of 960x540 with masks, and depth and confidence in half precision."""


@dataclass(frozen=True)
class Frame:
    """What is known about an image, at full size, in the types of the files.

    Attributes:
        image: (H, W, 3) uint8 RGB; alpha: (H, W) uint8 opacity, or None.
        state: (H, W) int8 mask, +1 moving, -1 not, 0 unknown, or None.
        depth: (H, W) 0 unknown, and confidence: (H, W), floating; or both None.
        features: (h, w, C) floating, or None.
    """

    image: Tensor
    alpha: Tensor | None
    state: Tensor | None
    depth: Tensor | None
    confidence: Tensor | None
    features: Tensor | None

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        values = (getattr(self, f.name) for f in fields(self))
        return sum(value.nbytes for value in values if value is not None)


class ResidentFrames:
    """Frames on `device`, the most recently asked for; the oldest make room."""

    def __init__(self, capture: Capture, priors: Priors, device: torch.device, budget: int = RESIDENT_BYTES) -> None:
        self._capture, self._priors, self._device, self._budget, self._size = capture, priors, device, budget, 0
        self._held: OrderedDict[tuple[int, int], Frame] = OrderedDict()

    def frame(self, view: int, index: int) -> Frame:
        """That image and what is known about it."""
        key = (view, index)
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        made = self._uploaded(view, index)
        self._held[key] = made
        self._size += made.nbytes
        while self._size > self._budget and len(self._held) > 1:
            self._size -= self._held.popitem(last=False)[1].nbytes
        return made

    def _uploaded(self, view: int, index: int) -> Frame:
        capture, priors = self._capture, self._priors
        state = priors.masks.mask[view][index] if priors.masks is not None else capture.mask(view, index)
        depth = capture.depth(view, index) if priors.depth is None else priors.depth.depth[view][index]
        confidence = None if priors.depth is None else priors.depth.confidence[view][index]
        features = None if priors.features is None else priors.features.feature[view][index]
        found = (capture.image(view, index), capture.alpha(view, index), state, depth, confidence, features)
        image, *rest = (None if array is None else self._sent(array) for array in found)
        if image is None:
            raise ValueError("a capture gave no image")
        return Frame(image, *rest)

    def _sent(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.array(array)).to(self._device, non_blocking=True)  # a mapped file may not be written


def averaged(image: Tensor, divisor: int) -> Tensor:
    """`image` (H, W[, C]) averaged over areas to the size of `Camera.scaled(1 / divisor)`: as `batch.reduced`, by two products of matrices."""
    if divisor == 1:
        return image
    rows, columns = (_shares(size, max(1, round(size / divisor)), image.device) for size in image.shape[:2])
    return torch.einsum("ih,hwc,jw->ijc", rows, image.reshape(*image.shape[:2], -1), columns).reshape(len(rows), len(columns), *image.shape[2:])


def _shares(size: int, smaller: int, device: torch.device) -> Tensor:
    """(smaller, size) how much of each of `size` pixels lies in each of `smaller` equal parts of the side; rows sum to one."""
    edges = torch.linspace(0, size, smaller + 1, dtype=torch.float64)[:, None]
    pixels = torch.arange(size, dtype=torch.float64)
    inside = (torch.minimum(edges[1:], pixels + 1) - torch.maximum(edges[:-1], pixels)).clamp_min(0)
    return (inside * smaller / size).float().to(device, non_blocking=True)


def shown(frame: Frame, divisor: int, behind: Tensor | None, backdrop: Tensor | None) -> Tensor:
    """(h, w, 3) RGB in [0, 1]: with opacity over `behind` (3,), in place of `backdrop` (3,) where that is behind the image already."""
    image = frame.image.float() / 255.0
    if frame.alpha is not None and behind is not None:
        share = frame.alpha[..., None].float() / 255.0
        image = image * share + behind * (1 - share) if backdrop is None else image + (behind - backdrop) * (1 - share)
    return averaged(image, divisor)


def masks(frame: Frame, divisor: int) -> tuple[Tensor | None, Tensor | None]:
    """(h, w) share of what is known that moves, and share that is known; None without a mask."""
    if frame.state is None:
        return None, None
    known, moving = averaged((frame.state != 0).float(), divisor), averaged((frame.state > 0).float(), divisor)
    return torch.where(known > 0, moving / known.clamp_min(1e-6), 0), known


def depths(frame: Frame, divisor: int) -> tuple[Tensor | None, Tensor | None]:
    """(h, w) depth, reduced by the harmonic mean of what is known, and confidence; None without depth."""
    if frame.depth is None:
        return None, None
    depth = frame.depth.float()
    confidence = (depth > 0).float() if frame.confidence is None else frame.confidence.float()
    if divisor == 1:
        return depth, confidence
    known = (depth > 0).float()
    weight, disparity = averaged(known, divisor), averaged(known / depth.clamp_min(1e-12), divisor)
    return torch.where(weight > 0.5, weight / disparity.clamp_min(1e-12), 0), averaged(confidence, divisor)
