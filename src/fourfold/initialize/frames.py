"""Reading a training image with its depth and mask for initialisation."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Priors


@dataclass(frozen=True)
class Frame:
    """One training image.

    Attributes:
        color: (H, W, 3) RGB in [0, 1]; K (3, 3) and world_to_camera (4, 4) of its camera.
        depth, confidence: (H, W), depth 0 where unknown; both zero without a depth prior.
        moving: (H, W) bool, certainly a moving object; still: (H, W) bool, certainly background (everything, without masks).
    """

    view: int
    index: int
    color: NDArray[np.float32]
    K: NDArray[np.float64]
    world_to_camera: NDArray[np.float64]
    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]
    moving: NDArray[np.bool_]
    still: NDArray[np.bool_]

    def unproject(self, row: NDArray[np.int64], column: NDArray[np.int64], depth: NDArray[np.floating]) -> NDArray[np.float64]:
        """(P, 3) world points at `depth` (P,) behind the centres of the given pixels."""
        return unproject_pixels(self.K, self.world_to_camera, np.stack([column + 0.5, row + 0.5], 1), depth)

    def project(self, points: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pixels (P, 2) and depths (P,) along the axis of world `points` (P, 3); pixels mean nothing where the depth is not positive."""
        local = np.asarray(points, np.float64) @ self.world_to_camera[:3, :3].T + self.world_to_camera[:3, 3]
        image = local @ self.K.T
        return image[:, :2] / np.maximum(image[:, 2:], 1e-6), local[:, 2]

    def pictured(self, xy: NDArray[np.float64], depth: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(P,) whether what lies at `depth` (P,) behind pixels `xy` (P, 2) is in the picture."""
        height, width = self.moving.shape
        return (depth > 0) & (xy >= 0).all(1) & (xy[:, 0] < width) & (xy[:, 1] < height)


def unproject_pixels(
    K: NDArray[np.float64], world_to_camera: NDArray[np.float64], xy: NDArray[np.floating], depth: NDArray[np.floating]
) -> NDArray[np.float64]:
    """(P, 3) world points at `depth` (P,) along the axis behind pixel positions `xy` (P, 2)."""
    rays = np.concatenate([xy, np.ones((len(xy), 1))], 1) @ np.linalg.inv(K).T
    return (rays * np.asarray(depth, np.float64)[:, None] - world_to_camera[:3, 3]) @ world_to_camera[:3, :3]


def read_frame(capture: Capture, priors: Priors, view: int, index: int, margin: int = 2) -> Frame:
    """The image of `view` at time `index`; `still` keeps `margin` pixels away from moving objects and doubtful pixels."""
    color = capture.image(view, index).astype(np.float32) / 255.0
    state = priors.masks.mask[view][index] if priors.masks is not None else capture.mask(view, index)
    shape = color.shape[:2]
    moving = np.zeros(shape, bool) if state is None else np.asarray(state > 0)
    doubtful = np.zeros(shape, np.uint8) if state is None else (state >= 0).astype(np.uint8)
    if margin and doubtful.any():
        doubtful = cv2.dilate(doubtful, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
    alpha = capture.alpha(view, index)
    seen = np.ones(shape, bool) if alpha is None else alpha > 127
    depth, confidence = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    if priors.depth is not None:
        depth = np.asarray(priors.depth.depth[view][index], np.float32)
        confidence = np.asarray(priors.depth.confidence[view][index], np.float32)
    elif (given := capture.depth(view, index)) is not None:
        depth, confidence = np.asarray(given, np.float32), (given > 0).astype(np.float32)
    depth = np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float32)
    return Frame(
        view, index, color, capture.K[view, index], capture.world_to_camera[view, index], depth, confidence, moving & seen, (doubtful == 0) & seen
    )


def reference_frames(capture: Capture, most: int) -> list[tuple[int, int]]:
    """Up to `most` training images with known cameras, evenly over time and over views."""
    known = capture.posed
    frames = [(view, index) for view, index in capture.train_frames() if known[view, index]]
    if len(frames) <= most:
        return frames
    views = sorted({view for view, _ in frames})
    if len(views) == 1:
        return [frames[i] for i in np.linspace(0, len(frames) - 1, most).round().astype(int)]
    per_view = {view: [frame for frame in frames if frame[0] == view] for view in views}
    chosen: list[tuple[int, int]] = []
    for turn, view in enumerate(np.resize(views, max(most, len(views)))[:most]):
        mine = per_view[int(view)]
        turns = -(-most // len(views))
        chosen.append(mine[round((turn // len(views) + 0.5) * (len(mine) - 1) / turns)])
    return sorted(set(chosen), key=lambda frame: (frame[1], frame[0]))
