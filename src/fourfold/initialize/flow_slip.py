"""How far shared motion slips from the optical flow of the pixels it should follow.

Between two neighbouring training images of a view, the flow says where a pixel goes and the motion says where a seed goes. The difference is the
slip of that step; its sum from a seed's own image on tells when the motion has left what it began on, whatever the colours there say: a uniform
coat is confirmed everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.initialize.frames import Frame, read_frame, unproject_pixels
from fourfold.priors.contracts import Flow, Priors

Velocities = NDArray[np.float64]

CONFIDENT = 0.5
"""Confidence of the round trip from which a flow may contradict (`tracking/flow.py`: the tolerance)."""
AROUND = (3, 3)
"""Pixels over which flow is averaged: a seed is a few pixels large."""
DOUBTFUL = 0.05
"""Weight of a flow that no round trip confirms: it counts where nothing better is near, as in the first step of a leap."""


@dataclass(frozen=True)
class Slips:
    """Of P seeds in F training images, `whole` (F, P, 2) pixels that the motion slipped since the view's first image, as far as the flow is known."""

    whole: NDArray[np.float32]

    @staticmethod
    def nothing(images: int, seeds: int) -> Slips:
        """No step is known yet."""
        return Slips(np.zeros((images, seeds, 2), np.float32))

    def add(self, number: int, before: int, step: NDArray[np.float32]) -> None:
        """The `step` (P, 2) of `slip_of` from image `before` to image `number` of the same view."""
        self.whole[number] = self.whole[before] + step

    def since(self, number: int, own: NDArray[np.int64]) -> NDArray[np.float32]:
        """(P,) pixels slipped between each seed's `own` image and image `number`, either way."""
        return np.linalg.norm(self.whole[number] - self.whole[own, np.arange(len(own))], axis=1)


def slip_of(flow: Flow, before: Frame, xy_before: NDArray[np.float64], xy: NDArray[np.float64]) -> NDArray[np.float32]:
    """Pixels (P, 2) by which seeds that go from `xy_before` (P, 2) in image `before` to `xy` in the view's next training image leave the flow; 0
    for those that did not lie on a mover, and where the flow is not sure."""
    height, width = before.moving.shape
    column, row = (np.clip(xy_before[:, axis], 0, size - 1).astype(np.int64) for axis, size in ((0, width), (1, height)))
    inside = (xy_before >= 0).all(1) & (xy_before[:, 0] < width) & (xy_before[:, 1] < height) & before.moving[row, column]
    sure = flow.forward_confidence[before.view][before.index][row, column] > CONFIDENT
    step = flow_on_movers(flow.forward[before.view][before.index], flow.forward_confidence[before.view][before.index], before.moving)[row, column]
    return np.where((inside & sure)[:, None], xy - xy_before - step, 0).astype(np.float32)


def flow_on_movers(flow: NDArray[np.floating], confidence: NDArray[np.floating], moving: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W, 2) `flow` averaged over a few pixels of what is `moving` alone, the surer pixels counting more."""
    weight = np.where(moving, np.maximum(confidence.astype(np.float32), DOUBTFUL), 0).astype(np.float32)
    mean = cv2.blur(flow.astype(np.float32) * weight[..., None], AROUND)
    return (mean / np.maximum(cv2.blur(weight, AROUND), 1e-9)[..., None]).astype(np.float32)


def flow_velocities(capture: Capture, priors: Priors, number: NDArray[np.int64], xy: NDArray[np.float64], depth: NDArray[np.float64]) -> Velocities:
    """World velocities (P, 2, 3), scene units per second, before and after the training images `number` (P,), of what their pixels `xy` (P, 2) show
    at `depth` (P,): the flow to the view's training images before and after says where it was and will be, at the same depth. At the ends of the
    film both are the same; without flow they are 0."""
    frames = capture.train_frames()
    result = np.zeros((len(xy), 2, 3))
    if priors.flow is None:
        return result
    for place, (view, index) in enumerate(frames):
        rows = np.flatnonzero(number == place)
        times = np.flatnonzero(capture.train[view])
        here = int(np.searchsorted(times, index))
        sides = [(here - 1, priors.flow.backward, priors.flow.backward_confidence), (here + 1, priors.flow.forward, priors.flow.forward_confidence)]
        known = [side for side, (other, _, _) in enumerate(sides) if 0 <= other < len(times)]
        if len(rows) == 0 or not known:
            continue
        frame = read_frame(capture, priors, view, index)
        column, row = xy[rows].astype(np.int64).T
        start = unproject_pixels(frame.K, frame.world_to_camera, xy[rows], depth[rows])
        for side in known:
            other, field, sure = sides[side]
            then = int(times[other])
            moved = xy[rows] + flow_on_movers(field[view][index], sure[view][index], frame.moving)[row, column]
            there = unproject_pixels(capture.K[view, then], capture.world_to_camera[view, then], moved, depth[rows])
            result[rows, side] = (there - start) / (capture.timestamps[then] - capture.timestamps[index])
        if len(known) == 1:
            result[rows] = result[rows][:, known]
    return result
