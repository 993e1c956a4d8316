"""Priors as pictures: one (H, W, 3) uint8 image per prior, view and moment."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
_OBJECT, _IGNORED = (255, 64, 32), (64, 128, 255)


def mask_picture(image: Picture, mask: NDArray[np.int8]) -> Picture:
    """(H, W, 3) `image` with +1 of `mask` (H, W) red and outlined, 0 blue, and -1 a little darker."""
    result = image.astype(np.float32) * 0.75
    result[mask > 0] = 0.55 * image[mask > 0] + 0.45 * np.array(_OBJECT)
    result[mask == 0] = 0.65 * image[mask == 0] + 0.35 * np.array(_IGNORED)
    inside = np.pad(mask > 0, 1)
    core = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    result[(mask > 0) & ~core] = _OBJECT
    return result.astype(np.uint8)


def flow_picture(flow: NDArray[np.floating], longest: float | None = None) -> Picture:
    """(H, W, 3): direction as hue, length as brightness; `longest` pixels are full brightness (the 99th percentile if None)."""
    x, y = flow[..., 0].astype(np.float32), flow[..., 1].astype(np.float32)
    length = np.hypot(x, y)
    scale = longest or max(float(np.percentile(length, 99)), 1e-6)
    hue = ((np.degrees(np.arctan2(y, x)) % 360) / 2).astype(np.uint8)
    value = (np.clip(length / scale, 0, 1) * 255).astype(np.uint8)
    return cv2.cvtColor(np.stack([hue, np.full_like(hue, 255), value], -1), cv2.COLOR_HSV2RGB)


def depth_range_of(depth: NDArray[np.floating]) -> tuple[float, float]:
    """The 2nd and 98th percentile of the inverse of the known depths of a whole clip, so that colours mean the same in every frame."""
    values = np.asarray(depth[..., ::4, ::4], np.float32)
    values = values[values > 0]
    return (0.0, 1.0) if not values.size else (float(np.percentile(1 / values, 2)), float(np.percentile(1 / values, 98)))


def depth_picture(depth: NDArray[np.floating], ends: tuple[float, float] | None = None) -> Picture:
    """(H, W, 3): near is warm, far is cold, unknown is black; between two inverse depths, this image's own percentiles if None."""
    depth = depth.astype(np.float32)
    inverse = np.where(depth > 0, 1 / np.where(depth > 0, depth, 1), 0)
    return disparity_picture(inverse, ends or depth_range_of(depth))


def disparity_picture(disparity: NDArray[np.floating], ends: tuple[float, float]) -> Picture:
    """(H, W, 3): near is warm, far is cold, unknown (0) is black; `ends` are the values of the coldest and the warmest colour."""
    disparity = disparity.astype(np.float32)
    share = np.clip((disparity - ends[0]) / max(ends[1] - ends[0], 1e-12), 0, 1)
    colours = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where((disparity > 0)[..., None], colours, 0).astype(np.uint8)


def feature_basis(features: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Mean (C,), the three strongest directions (C, 3) and the spread along them (3,) of features (..., C): the same colours in all frames."""
    rows = np.asarray(features.reshape(-1, features.shape[-1])[:: max(1, features[..., 0].size // 20_000)], np.float32)
    mean = rows.mean(0)
    _, _, directions = np.linalg.svd(rows - mean, full_matrices=False)
    basis = np.zeros((rows.shape[1], 3), np.float32)
    basis[:, : min(3, len(directions))] = directions[:3].T
    return mean, basis, np.maximum(np.abs((rows - mean) @ basis).std(0) * 2.5, 1e-6)


def feature_picture(feature: NDArray[np.floating], basis: tuple[NDArray[np.float32], ...], size: tuple[int, int]) -> Picture:
    """(H, W, 3) of features (h, w, C) at `size` (width, height): their three strongest directions as red, green and blue."""
    mean, directions, spread = basis
    colour = (np.asarray(feature, np.float32) - mean) @ directions / spread
    return cv2.resize((np.clip(0.5 + 0.5 * colour, 0, 1) * 255).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)


def box_of(points: NDArray[np.floating], share: float = 2.0) -> NDArray[np.float64]:
    """(2, D) lowest and highest coordinate of (..., D) points between the percentiles `share` and 100 - `share`, with a margin of a tenth."""
    rows = points.reshape(-1, points.shape[-1])
    rows = rows[np.isfinite(rows).all(axis=1)]
    if not len(rows):
        return np.array([[-1.0] * points.shape[-1], [1.0] * points.shape[-1]])
    low, high = np.percentile(rows, [share, 100 - share], axis=0)
    margin = 0.1 * max(float((high - low).max()), 1e-6)
    return np.stack([low - margin, high + margin]).astype(np.float64)


def map_to(points: NDArray[np.floating], box: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """(..., 2) pixels of (..., 2) coordinates when `box` (2, 2) fills `size` (width, height) with the same scale along both axes."""
    extent = np.maximum(box[1] - box[0], 1e-9)
    scale = min(size[0] / extent[0], size[1] / extent[1])
    return (np.asarray(points, np.float64) - box.mean(0)) * scale + np.array(size) / 2


def dots(canvas: Picture, xy: NDArray[np.floating], colours: NDArray[np.uint8], radius: int = 1) -> Picture:
    """`canvas` with a square of `2 radius + 1` pixels (0 is one pixel) for each of (N, 2) positions, later ones over earlier ones."""
    height, width = canvas.shape[:2]
    good = np.isfinite(xy).all(axis=1)
    centre, colours = np.floor(np.where(good[:, None], xy, -9)).astype(np.int64), np.asarray(colours)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            x, y = centre[:, 0] + dx, centre[:, 1] + dy
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            canvas[y[inside], x[inside]] = colours[inside]
    return canvas


def sheet(pictures: list[Picture], columns: int = 4, gap: int = 4) -> Picture:
    """Pictures of one size as one, in rows."""
    height, width = pictures[0].shape[:2]
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    result = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 24, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        result[top : top + height, left : left + width] = picture
    return result
