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

from fourfold.initialize.frames import Frame
from fourfold.priors.contracts import Flow

CONFIDENT = 0.5
"""Confidence of the round trip from which a flow is believed (`tracking/flow.py`: the tolerance)."""


@dataclass(frozen=True)
class Slips:
    """Of P seeds in F training images: `whole` (F, P, 2) pixels that the motion slipped since the view's first image, where the flow is known,
    `known` (F, P) whether it is in the step that ends at this image, and `before` (F,) number of the view's image before it, -1 for its first."""

    whole: NDArray[np.float32]
    known: NDArray[np.bool_]
    before: NDArray[np.int64]

    @staticmethod
    def nothing(images: int, seeds: int) -> Slips:
        """No step is known yet."""
        return Slips(np.zeros((images, seeds, 2), np.float32), np.zeros((images, seeds), bool), np.full(images, -1))

    def add(self, number: int, before: int, step: tuple[NDArray[np.float32], NDArray[np.bool_]]) -> None:
        """The step (`slip_of`) from image `before` to image `number` of the same view."""
        self.before[number], self.known[number] = before, step[1]
        self.whole[number] = self.whole[before] + np.where(step[1][:, None], step[0], 0)

    def since(self, number: int, own: NDArray[np.int64]) -> NDArray[np.float32]:
        """(P,) pixels slipped between each seed's `own` image and image `number`, either way."""
        return np.linalg.norm(self.whole[number] - self.whole[own, np.arange(len(own))], axis=1)

    def speed(self, own: NDArray[np.int64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """(P, 2) pixels per second at which the motion slips at each seed's `own` image: the mean over the steps before and after it that are
        known, 0 where none is. `seconds` (F,) are the images' times."""
        after = np.full(len(self.before) + 1, -1)
        after[self.before] = np.arange(len(self.before))  # what follows nothing goes to the last place
        total, count = np.zeros((len(own), 2)), np.zeros(len(own))
        rows = np.arange(len(own))
        for begin, end in ((self.before[own], own), (own, after[:-1][own])):
            there = (begin >= 0) & (end >= 0) & self.known[end, rows]
            step = self.whole[end, rows] - self.whole[begin, rows]
            total += np.where(there[:, None], step / np.where(there, seconds[end] - seconds[begin], 1.0)[:, None], 0)
            count += there
        return total / np.maximum(count, 1)[:, None]


def slip_of(flow: Flow, before: Frame, xy_before: NDArray[np.float64], xy: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Pixels (P, 2) by which seeds that go from `xy_before` (P, 2) in image `before` to `xy` in the view's next training image leave the flow, and
    (P,) whether it is known: the seed began on a mover and the flow there is confident."""
    height, width = before.moving.shape
    column, row = (np.clip(xy_before[:, axis], 0, size - 1).astype(np.int64) for axis, size in ((0, width), (1, height)))
    inside = (xy_before >= 0).all(1) & (xy_before[:, 0] < width) & (xy_before[:, 1] < height)
    mover = before.moving.astype(np.float32)
    field = flow.forward[before.view][before.index].astype(np.float32) * mover[..., None]
    field = cv2.blur(field, (3, 3)) / np.maximum(cv2.blur(mover, (3, 3)), 1e-6)[..., None]  # the mover's own, up to its rim
    sure = flow.forward_confidence[before.view][before.index][row, column] > CONFIDENT
    return (xy - xy_before - field[row, column]).astype(np.float32), inside & sure & before.moving[row, column]
