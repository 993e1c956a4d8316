"""Images of more than eight bits: 16-bit and floating-point TIFF, and what Pillow calls I and F."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourfold.errors import FourfoldError
from fourfold.untrusted.images import MOST_PIXELS, declared_pixels

DEEP_SUFFIXES = frozenset({".tif", ".tiff"})
LOOKED_AT = 8  # images of a list that decide what its white is
WHITES = ((2.0, 1.0), (512.0, 255.0), (float("inf"), 65535.0))  # (largest number found is at most, white)


def white_of(paths: Sequence[Path]) -> float | None:
    """What number is white in a list of floating-point images: 1, 255 or 65535, one for all so that they do not flicker; None for other images."""
    chosen = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, LOOKED_AT).round().astype(int))]
    if not chosen or chosen[0].suffix.lower() not in DEEP_SUFFIXES:
        return None
    values = [raw for path in chosen if (raw := _read(path)) is not None and raw.dtype.kind == "f"]
    if not values:
        return None
    largest = max(float(np.nanmax(np.where(np.isfinite(v), v, 0.0))) for v in values)
    return next(white for limit, white in WHITES if largest <= limit)


def deep_image(path: Path, white: float | None) -> NDArray[np.uint8] | None:
    """The image as uint8 (H, W, 3) or (H, W, 4), not turned; None for a file of eight bits or another kind.

    Numbers are taken as already encoded for display. FourfoldError for floating-point images without a `white`.
    """
    if path.suffix.lower() not in DEEP_SUFFIXES or (raw := _read(path)) is None or raw.dtype == np.uint8:
        return None
    top = (white or white_of([path])) if raw.dtype.kind == "f" else float(np.iinfo(raw.dtype).max)
    if not top:
        raise FourfoldError(f"{path} holds numbers of kind {raw.dtype}: write it with 8 or 16 bits")
    values = raw if raw.ndim == 3 else np.repeat(raw[..., None], 3, axis=2)
    if values.shape[2] not in (3, 4):
        raise FourfoldError(f"{path} has {values.shape[2]} channels: expected grey, RGB or RGBA")
    scaled = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=top, neginf=0.0) * (255.0 / top)
    return np.clip(np.round(scaled), 0, 255).astype(np.uint8)


def grey_sixteen(image: Image.Image) -> NDArray[np.uint8]:
    """A 16-bit grey image of another kind of file as (H, W, 3)."""
    grey = np.asarray(image, dtype=np.float64) / 257.0
    return np.repeat(np.clip(np.round(grey), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _read(path: Path) -> NDArray[np.generic] | None:
    """The numbers of a file as (H, W) or (H, W, C) RGB(A), None where OpenCV cannot read it."""
    if (pixels := declared_pixels(path)) is not None and pixels > MOST_PIXELS:
        raise FourfoldError(f"{path} has {pixels // 10**6} million pixels, at most {MOST_PIXELS // 10**6} million are read: reduce it first")
    try:
        raw = cv2.imread(str(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    if raw is None or raw.ndim == 2:
        return raw
    return raw[..., [2, 1, 0, 3]] if raw.shape[2] == 4 else raw[..., ::-1] if raw.shape[2] == 3 else raw
