"""The box protocol of 4DGS360: foreground on white, cropped to the true mask's bounds enlarged by an eighth of the image on each side."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.evaluation.image_metrics.pixels import Image

Box = tuple[int, int, int, int]


def mask_box(mask: NDArray[Any], margin: int = 8) -> Box | None:
    """(top, bottom, left, right) of `mask` (H, W), bottom and right exclusive, with int(H / margin) and int(W / margin) pixels added on each
    side and clamped to the image; None for an empty mask. Source: spec himor_4dgs360.md section 6.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    height, width = mask.shape
    more_y, more_x = height // margin, width // margin
    return (
        max(int(rows[0]) - more_y, 0),
        min(int(rows[-1]) + more_y + 1, height),
        max(int(columns[0]) - more_x, 0),
        min(int(columns[-1]) + more_x + 1, width),
    )


def crop(image: NDArray[Any], box: Box) -> NDArray[Any]:
    """The part of `image` (H, W, ...) inside `box`."""
    top, bottom, left, right = box
    return image[top:bottom, left:right]


def on_colour(image: Image, mask: NDArray[Any], colour: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> NDArray[np.float64]:
    """`image` (H, W, 3) inside `mask` (H, W), RGB `colour` outside."""
    return np.where((mask > 0)[..., None], image, np.asarray(colour, np.float64))
