"""Which images are looked at together, and how one is cut to what the networks of the DUSt3R family read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.priors.foundation.video import device_here, resized, training_times

LONG_SIDE = 512
PATCH = 16
Image = tuple[int, int]
"""(view, time index)"""


@dataclass(frozen=True)
class Cut:
    """An image as a network reads it.

    Attributes:
        view: what the network's code expects.
        origin, step: its pixel (x, y), centres at +0.5, is origin + step * (x, y) in the capture's image.
    """

    view: dict[str, Any]
    origin: NDArray[np.float64]
    step: NDArray[np.float64]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return int(self.view["img"].shape[-2]), int(self.view["img"].shape[-1])

    def pixels(self, rows_columns: NDArray[np.integer]) -> NDArray[np.float32]:
        """Pixels (N, 2) of the capture's image for whole-number pixels (N, 2) x, y of the cut."""
        return (self.origin + self.step * (rows_columns + 0.5)).astype(np.float32)


def cut(image: NDArray[np.uint8]) -> Cut:
    """`image` (H, W, 3) with its long side at 512 pixels, cropped about its middle to multiples of 16, values in [-1, 1]."""
    height, width = image.shape[:2]
    factor = LONG_SIDE / max(height, width)
    small = (max(PATCH, round(height * factor)), max(PATCH, round(width * factor)))
    tensor: Tensor = resized(image[None], *small, device_here()) / 127.5 - 1
    kept = tuple(n // PATCH * PATCH for n in small)
    top, left = ((n - k) // 2 for n, k in zip(small, kept, strict=True))
    tensor = tensor[..., top : top + kept[0], left : left + kept[1]].clamp(-1, 1)
    step = np.array([width / small[1], height / small[0]])
    view = {"img": tensor, "true_shape": torch.tensor([kept]), "idx": 0, "instance": "0"}
    return Cut(view, np.array([left, top]) * step, step)


def partners(capture: Capture, apart: int) -> list[tuple[Image, Image]]:
    """Each training image with one to look at it with: another camera at that moment, or else the same camera `apart` moments of its own later."""
    times = [training_times(capture, v) for v in range(capture.views)]
    found: list[tuple[Image, Image]] = []
    for view, own in enumerate(times):
        others = [v for v in range(capture.views) if v != view]
        for row, time in enumerate(own):
            beside = next(((v, time) for v in others[view:] + others[:view] if time in times[v]), None)
            later = own[row + apart] if row + apart < len(own) else own[max(row - apart, 0)]
            found.append(((view, time), beside or (view, later)))
    return found


def camera_pairs(capture: Capture) -> list[tuple[Image, Image]]:
    """All pairs of cameras at each moment; for one camera each moment with the next training moment."""
    times = [training_times(capture, v) for v in range(capture.views)]
    if capture.views == 1:
        return [((0, a), (0, b)) for a, b in zip(times[0][:-1], times[0][1:], strict=True)]
    both = [(a, b) for a in range(capture.views) for b in range(a + 1, capture.views)]
    return [((a, t), (b, t)) for t in range(capture.times) for a, b in both if t in times[a] and t in times[b]]
