"""Drawing tracks over frames, with tails that fade into the past."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError
from fourfold.export.tracks import PointTracks

SHIFT = 4  # fractional bits of the line coordinates


@dataclass(frozen=True)
class DrawingConfig:
    """How tracks look: `tail` frames of history, lines of `width` pixels, and a dot of `radius` pixels at the present."""

    tail: int = 12
    width: int = 2
    radius: int = 3


def draw_tracks(frames: NDArray[np.uint8], tracks: PointTracks, config: DrawingConfig = DrawingConfig()) -> NDArray[np.uint8]:
    """(T, H, W, 3) the frames with the tracks over them; hidden moments are left out.

    The colour of a point tells where it was in the first frame: hue by direction from the middle of all points, so that neighbours
    look alike and mix-ups show.

    Raises:
        FourfoldError: the tracks have no pixels, or not one moment per frame.
    """
    if tracks.xy is None or tracks.xy.shape[1] != len(frames):
        moments = 0 if tracks.xy is None else tracks.xy.shape[1]
        raise FourfoldError(f"drawing got {len(frames)} frames and pixel tracks of {moments} moments: track to the cameras of exactly these frames")
    colors = track_colors(tracks.xy[:, 0])
    result = np.empty_like(frames)
    for index, frame in enumerate(frames):
        ink, cover = _ink(frame.shape[:2], tracks.xy, tracks.visibility, colors, index, config)
        result[index] = (frame * (1 - cover[..., None]) + ink * cover[..., None] + 0.5).astype(np.uint8)
    return result


def track_colors(xy: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(P, 3) a saturated colour per point by its direction from the middle of all points, brighter inside, of `xy` (P, 2)."""
    centred = xy - np.median(xy, axis=0)
    hue = np.arctan2(centred[:, 1], centred[:, 0]) / (2 * np.pi) % 1.0
    distance = np.linalg.norm(centred, axis=1)
    saturation = 0.55 + 0.45 * distance / max(float(distance.max(initial=0.0)), 1e-6)
    return np.array([[round(255 * c) for c in colorsys.hsv_to_rgb(h, s, 1.0)] for h, s in zip(hue, saturation, strict=True)], np.uint8).reshape(-1, 3)


def _ink(
    size: tuple[int, ...], xy: NDArray[np.float32], visibility: NDArray[np.float32], colors: NDArray[np.uint8], index: int, config: DrawingConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colour (H, W, 3) and coverage (H, W) in [0, 1] of all lines and dots of frame `index`; newer strokes lie over older ones."""
    import cv2

    ink, cover = np.zeros((*size, 3), np.float32), np.zeros(size, np.float32)
    near = np.abs(xy).max(axis=2) < 1e5  # cv2 takes 32-bit coordinates
    fixed = np.round((np.where(near[..., None], xy, 0) - 0.5) * 2**SHIFT).astype(int)  # cv2 has pixel centres at whole numbers
    drawable = (visibility > 0.5) & near
    first = max(0, index - config.tail)
    for moment in range(first, index):
        strength = (moment - first + 1) / (index - first + 1)
        for point in np.flatnonzero(drawable[:, moment] & drawable[:, moment + 1]):
            start, end = fixed[point, moment].tolist(), fixed[point, moment + 1].tolist()
            cv2.line(ink, start, end, [float(c) for c in colors[point]], config.width, cv2.LINE_8, SHIFT)
            cv2.line(cover, start, end, (strength,), config.width, cv2.LINE_8, SHIFT)
    for point in np.flatnonzero(drawable[:, index]):
        center = fixed[point, index].tolist()
        cv2.circle(ink, center, config.radius << SHIFT, [float(c) for c in colors[point]], -1, cv2.LINE_8, SHIFT)
        cv2.circle(cover, center, config.radius << SHIFT, (1.0,), -1, cv2.LINE_8, SHIFT)
    return ink, cover
