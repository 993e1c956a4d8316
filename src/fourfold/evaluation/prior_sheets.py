"""What was estimated, for a person to look at: contact sheets of masks over images and of tracks with their tails."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fourfold.capture.capture import Capture
from fourfold.files import replacing
from fourfold.priors.contracts import Tracks3D
from fourfold.priors.pictures import mask_picture
from fourfold.priors.providers import Preparation

CELLS = 8  # pictures of a sheet
CELL_WIDTH = 320  # pixels
COLUMNS = 4
TAIL = 8  # moments
MOST_TRACKS = 400


def masks_sheet(preparation: Preparation, path: Path) -> Path | None:
    """Write images with the moving objects tinted red and outlined and what is not to be used tinted blue, as one picture.

    Returns `path`, or None (and nothing is written) if there are no masks or none of them holds anything that moves.
    """
    capture, masks = preparation.capture, preparation.priors.masks
    if masks is None or not any((m > 0).any() for m in masks.mask):
        return None
    cells = [_cell(mask_picture(capture.image(v, t), masks.mask[v][t])) for v, t in _chosen(capture)]
    return _save(cells, path)


def tracks_sheet(preparation: Preparation, path: Path) -> Path | None:
    """Write images with every visible track as a dot and the way it came in the moments before, as one picture.

    Image tracks are drawn, or where there are none 3D tracks through the capture's cameras. Returns `path`, or None (and nothing is
    written) if there are neither.
    """
    capture, priors = preparation.capture, preparation.priors
    if priors.tracks2d is not None and len(priors.tracks2d.xy):
        flat, seen, views = priors.tracks2d.xy, priors.tracks2d.visibility > 0.5, priors.tracks2d.view
        chosen = [(flat[views == v], seen[views == v]) for v in range(capture.views)]
    elif priors.tracks3d is not None and len(priors.tracks3d.xyz):
        chosen = [_projected(capture, priors.tracks3d, v) for v in range(capture.views)]
    else:
        return None
    some = [(xy[_spread(len(xy))], seen[_spread(len(xy))]) for xy, seen in chosen]
    cells = [_with_tails(capture, *some[v], v, t) for v, t in _chosen(capture)]
    return _save(cells, path)


def _chosen(capture: Capture) -> list[tuple[int, int]]:
    """(view, time index) of at most `CELLS` training images, spread over views and times."""
    views = np.flatnonzero((capture.train & capture.present).any(axis=1))
    views = views[np.unique(np.linspace(0, len(views) - 1, min(len(views), CELLS)).astype(int))] if len(views) else views
    each = max(1, CELLS // max(len(views), 1))
    frames: list[tuple[int, int]] = []
    for view in views:
        times = np.flatnonzero(capture.present[view])
        frames += [(int(view), int(times[i])) for i in np.unique(np.linspace(0, len(times) - 1, min(each, len(times))).astype(int))]
    return frames


def _spread(count: int) -> NDArray[np.int64]:
    """At most `MOST_TRACKS` of `count` row numbers, evenly spread."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, MOST_TRACKS)).astype(np.int64)) if count else np.zeros(0, np.int64)


def _projected(capture: Capture, tracks: Tracks3D, view: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(P, T, 2) pixels of 3D tracks in `view` and (P, T) whether they are visible and before the camera."""
    pose, K = capture.world_to_camera[view], capture.K[view]
    local = np.einsum("tij,ptj->pti", pose[:, :3, :3], tracks.xyz) + pose[None, :, :3, 3]
    image = np.einsum("tij,ptj->pti", K, local)
    depth = np.where(image[..., 2] > 1e-6, image[..., 2], np.nan)
    xy = image[..., :2] / depth[..., None]
    return np.nan_to_num(xy).astype(np.float32), (tracks.visibility > 0.5) & np.isfinite(xy).all(axis=-1)


def _with_tails(capture: Capture, xy: NDArray[np.float32], seen: NDArray[np.bool_], view: int, index: int) -> Image.Image:
    dimmed = (capture.image(view, index).astype(np.float32) * 0.6).astype(np.uint8)
    cell = _cell(dimmed)
    scale = cell.width / dimmed.shape[1]
    pen = ImageDraw.Draw(cell)
    for number in np.flatnonzero(seen[:, index]):
        color = _color(number, len(xy))
        before = [t for t in range(max(0, index - TAIL), index + 1) if seen[number, t]]
        way = [(float(x) * scale, float(y) * scale) for x, y in xy[number, before]]
        if len(way) > 1:
            pen.line(way, fill=color, width=1)
        x, y = way[-1]
        pen.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=color)
    return cell


def _color(number: int, count: int) -> tuple[int, int, int]:
    r, g, b = colorsys.hsv_to_rgb((number * 0.618) % 1.0 if count > 12 else number / count, 0.75, 1.0)
    return round(255 * r), round(255 * g), round(255 * b)


def _cell(image: NDArray[np.uint8]) -> Image.Image:
    height = max(1, round(image.shape[0] * CELL_WIDTH / image.shape[1]))
    return Image.fromarray(image).resize((CELL_WIDTH, height), Image.Resampling.BICUBIC)


def _save(cells: list[Image.Image], path: Path) -> Path:
    gap, columns = 4, min(COLUMNS, len(cells))
    height = max(cell.height for cell in cells)
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * (CELL_WIDTH + gap) - gap, rows * (height + gap) - gap), (24, 24, 24))
    for number, cell in enumerate(cells):
        sheet.paste(cell, (number % columns * (CELL_WIDTH + gap), number // columns * (height + gap)))
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")
    return path
