"""Priors as pictures: contact sheets to look at. PNGs are written with Pillow."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Depth, Flow, Masks, Tracks2D

Picture = NDArray[np.uint8]


def mask_picture(image: Picture, mask: NDArray[np.int8]) -> Picture:
    """(H, W, 3) image with the background darkened and the border that is not used in magenta."""
    shown = np.where(mask[..., None] < 0, image * 0.35, image)
    shown[mask == 0] = (255, 0, 255)
    return shown.astype(np.uint8)


def flow_picture(flow: NDArray[np.floating], longest: float | None = None) -> Picture:
    """(H, W, 3): direction as hue, length as brightness; `longest` pixels are full brightness (the 99th percentile if None)."""
    x, y = flow[..., 0].astype(np.float32), flow[..., 1].astype(np.float32)
    length = np.hypot(x, y)
    scale = longest or max(float(np.percentile(length, 99)), 1e-6)
    hue = ((np.degrees(np.arctan2(y, x)) % 360) / 2).astype(np.uint8)
    value = (np.clip(length / scale, 0, 1) * 255).astype(np.uint8)
    return cv2.cvtColor(np.stack([hue, np.full_like(hue, 255), value], -1), cv2.COLOR_HSV2RGB)


def depth_picture(depth: NDArray[np.floating]) -> Picture:
    """(H, W, 3): near is warm, far is cold, unknown is black; scaled to the 2nd and 98th percentile of the inverse depth."""
    depth = depth.astype(np.float32)
    known = depth > 0
    if not known.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    inverse = np.where(known, 1 / np.where(known, depth, 1), 0)
    low, high = np.percentile(inverse[known], [2, 98])
    share = np.clip((inverse - low) / max(high - low, 1e-12), 0, 1)
    colours = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(known[..., None], colours, 0).astype(np.uint8)


def track_picture(image: Picture, tracks: Tracks2D, view: int, index: int, tail: int = 6) -> Picture:
    """(H, W, 3) image with the visible tracks of `view` at time `index` and their last `tail` visible positions."""
    shown = np.ascontiguousarray(image).copy()
    start = max(0, index - tail)
    for track in np.flatnonzero((tracks.view == view) & (tracks.visibility[:, index] > 0.5)):
        hue = np.uint8([[[int(track * 47) % 180, 255, 255]]])
        colour = tuple(int(c) for c in cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0])
        visible = tracks.visibility[track, start : index + 1] > 0.5
        path = np.round(tracks.xy[track, start : index + 1][visible] - 0.5).astype(np.int32)
        cv2.polylines(shown, [path.reshape(-1, 1, 2)], False, colour, 1)
        cv2.circle(shown, tuple(int(n) for n in path[-1]), 1, colour, -1)
    return shown


def write_sheet(capture: Capture, prior: Masks | Flow | Depth | Tracks2D, path: Path, view: int = 0, count: int = 12, columns: int = 4) -> Path:
    """Write a contact sheet of `prior` over up to `count` training frames of `view` as a PNG; returns `path`."""
    times = np.flatnonzero(capture.train[view])
    times = times[np.unique(np.linspace(0, len(times) - 1, min(count, len(times))).round().astype(int))]
    pictures = [_picture(capture, prior, view, int(t)) for t in times]
    pictures += [np.zeros_like(pictures[0])] * (-len(pictures) % columns)
    rows = [np.hstack(pictures[i : i + columns]) for i in range(0, len(pictures), columns)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.vstack(rows)).save(path)
    return path


def _picture(capture: Capture, prior: Masks | Flow | Depth | Tracks2D, view: int, index: int) -> Picture:
    if isinstance(prior, Masks):
        return mask_picture(np.asarray(capture.image(view, index)), prior.mask[view][index])
    if isinstance(prior, Flow):
        return flow_picture(prior.forward[view][index])
    if isinstance(prior, Depth):
        return depth_picture(prior.depth[view][index])
    return track_picture(np.asarray(capture.image(view, index)), prior, view, index)
