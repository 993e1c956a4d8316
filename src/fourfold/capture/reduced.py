"""A capture seen at a smaller size: what needs no detail is estimated on it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture


@dataclass(frozen=True)
class ReducedCapture(Capture):
    """The same recordings with images `divisor` times smaller: colours and opacity averaged, masks and depth by nearest pixel."""

    divisor: int = 1

    def image(self, view: int, index: int) -> NDArray[np.uint8]:
        """(H / divisor, W / divisor, 3) RGB."""
        return cv2.resize(np.asarray(super().image(view, index)), self._size(view), interpolation=cv2.INTER_AREA)

    def alpha(self, view: int, index: int) -> NDArray[np.uint8] | None:
        """(H / divisor, W / divisor) opacity given with the image, or None."""
        given = super().alpha(view, index)
        return None if given is None else cv2.resize(np.asarray(given), self._size(view), interpolation=cv2.INTER_AREA)

    def mask(self, view: int, index: int) -> NDArray[np.int8] | None:
        """(H / divisor, W / divisor) given object mask, or None."""
        given = super().mask(view, index)
        return None if given is None else cv2.resize(np.asarray(given), self._size(view), interpolation=cv2.INTER_NEAREST)

    def depth(self, view: int, index: int) -> NDArray[np.float32] | None:
        """(H / divisor, W / divisor) given depth, or None."""
        given = super().depth(view, index)
        return None if given is None else cv2.resize(np.asarray(given), self._size(view), interpolation=cv2.INTER_NEAREST)

    def _size(self, view: int) -> tuple[int, int]:
        width, height = self.sizes[view]
        return int(width), int(height)


def reduce_capture(capture: Capture, width: int) -> Capture:
    """`capture` at the smallest whole divisor that leaves images at most `width` wide; itself if they are."""
    divisor = max(1, int(np.ceil(float(capture.sizes[:, 0].max()) / width)))
    if divisor == 1:
        return capture
    sizes = np.maximum(1, np.round(capture.sizes / divisor)).astype(capture.sizes.dtype)
    K = capture.K.copy()
    K[:, :, :2] *= (sizes / capture.sizes)[:, None, :, None]  # pixel centres are at +0.5: rows scale as the images do
    values = {f.name: getattr(capture, f.name) for f in fields(capture)} | {"sizes": sizes, "K": K}
    values["focal_hint"] = capture.focal_hint * (sizes / capture.sizes)[:, 0]
    return ReducedCapture(**values, divisor=divisor)
