"""What a bare film is found to do to its images, and how that is taken out: a lens that bends, and rows that are read one after the other.

A camera that turns while an image is read sees each row from another direction. What was seen in row y at the moment t + share (y / height - 1/2),
in intervals between frames, is put where the camera looked at t. Only the turning is undone: what the camera's way and what moves does within an
image stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourfold.capture.lens import Matrix, pinhole, straightened

GRID = 4
"""Pixels between the places for which the way of light is computed; it changes slowly, and in between it is linear."""
CLOSER = 0.8
"""Images are cut at the rim, where nothing was seen, to no less than this share of their sides; beyond it the rim is repeated."""


@dataclass(frozen=True)
class FilmLens:
    """What was found.

    Attributes:
        focal: focal length, image widths, of the images as filmed.
        bend: k of p (1 + k |p|^2), p in focal lengths.
        rolling: share of the interval between frames that reading an image takes, below 0 if it begins at the end of the axis.
        axis: 1 where rows are read one after the other, 0 for columns.
        turns: for every moment the rotation vector, radians in the camera's own axes, by which directions turn within an interval; none if
            nothing rolls.
    """

    focal: float
    bend: float = 0.0
    rolling: float = 0.0
    axis: int = 1
    turns: tuple[tuple[float, float, float], ...] = ()

    def filmed(self, size: tuple[int, int]) -> Matrix:
        """(3, 3) intrinsics of the images as filmed, pixel centres at +0.5."""
        width, height = size
        return np.array([[self.focal * width, 0, width / 2], [0, self.focal * width, height / 2], [0, 0, 1]])

    def straight(self, size: tuple[int, int]) -> Matrix:
        """(3, 3) intrinsics of the images without all that: the widest view of which every pixel was seen at every moment."""
        K = straightened(pinhole(self.bend), self.filmed(size), size)
        if not self.turns:
            return K
        closer = 1.0
        for _ in range(3):
            narrow = _zoomed(K, 1 / closer)
            beyond = max(_beyond(self.sources(_rim(size), moment, narrow, size), size) for moment in range(len(self.turns)))
            closer *= 1 - beyond
        return _zoomed(K, 1 / max(closer, CLOSER))

    def sources(self, pixels: NDArray[np.float64], moment: int, straight: Matrix, size: tuple[int, int]) -> NDArray[np.float64]:
        """Where in the image as filmed (P, 2) what straight `pixels` (P, 2) show was seen at `moment`."""
        K = self.filmed(size)
        rays = np.column_stack([(pixels - straight[:2, 2]) / np.diag(straight)[:2], np.ones(len(pixels))])
        found = _seen(rays, K, self.bend)
        turn = np.array(self.turns[moment]) if self.turns else np.zeros(3)
        if not self.rolling or not turn.any():
            return found
        for _ in range(4):  # when a direction is read depends on where it is seen then
            late = self.rolling * (found[:, self.axis] / size[self.axis] - 0.5)
            found = _seen(_turned(rays, turn, late), K, self.bend)
        return found

    def undo(self, image: NDArray[Any], moment: int, straight: Matrix, nearest: bool) -> NDArray[Any]:
        """An image as filmed at `moment` as the `straight` camera sees it: colours are interpolated, labels and depth (`nearest`) picked."""
        size = image.shape[1], image.shape[0]
        across, down = (-(-n // GRID) + 1 for n in size)
        rows, columns = np.mgrid[:down, :across] * float(GRID)
        coarse = self.sources(np.column_stack([columns.ravel(), rows.ravel()]), moment, straight, size).reshape(down, across, 2)
        x, y = ((np.arange(n, dtype=np.float32) + 0.5) / GRID for n in size)
        fine = cv2.remap(coarse.astype(np.float32), np.tile(x, (size[1], 1)), np.tile(y[:, None], (1, size[0])), cv2.INTER_LINEAR) - 0.5
        how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        return cv2.remap(np.ascontiguousarray(image), fine[..., 0], fine[..., 1], how, borderMode=cv2.BORDER_REPLICATE)

    @property
    def words(self) -> tuple[str, ...]:
        """What is taken out, a sentence each."""
        bend = f"the lens bends straight lines (k = {self.bend:.3f}), as the film itself tells: it is taken out"
        lines, order = ("columns", "rows")[self.axis], "" if self.rolling > 0 else ", the last one first"
        rolls = f"{lines} were read one after the other over {abs(self.rolling):.0%} of the time between frames{order}"
        rolls += ": what the camera turned meanwhile is taken out"
        return (*((bend,) if self.bend else ()), *((rolls,) if self.rolling else ()))


def turns_of(world_to_camera: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, 3) rotation vectors by which the directions of a camera (T, 4, 4) turn from one moment to the next, half of what they turn between the
    moments before and after; 0 where a pose is not known."""
    known = np.flatnonzero(np.isfinite(world_to_camera).all(axis=(1, 2)))
    result = np.zeros((len(world_to_camera), 3))
    for place, moment in enumerate(known):
        before, after = known[max(place - 1, 0)], known[min(place + 1, len(known) - 1)]
        between = world_to_camera[after, :3, :3] @ world_to_camera[before, :3, :3].T
        result[moment] = Rotation.from_matrix(between).as_rotvec() / max(int(after - before), 1)
    return result


def _seen(rays: NDArray[np.float64], K: Matrix, bend: float) -> NDArray[np.float64]:
    """(P, 2) pixels of `rays` (P, 3) through a bent lens."""
    p = rays[:, :2] / rays[:, 2:]
    return p * (1 + bend * (p**2).sum(1, keepdims=True)) * np.diag(K)[:2] + K[:2, 2]


def _turned(rays: NDArray[np.float64], turn: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """`rays` (P, 3), each turned by its `share` (P,) of the rotation vector `turn` (3,) (Rodrigues)."""
    angle = float(np.linalg.norm(turn))
    axis, angles = turn / angle, (angle * share)[:, None]
    return rays * np.cos(angles) + np.cross(axis, rays) * np.sin(angles) + axis * (rays @ axis)[:, None] * (1 - np.cos(angles))


def _rim(size: tuple[int, int]) -> NDArray[np.float64]:
    """(P, 2) places along the rim of an image."""
    along = np.linspace(0, 1, 33)
    sides = [np.column_stack([along, np.full(33, end)]) for end in (0.0, 1.0)]
    return np.concatenate([*sides, *(side[:, ::-1] for side in sides)]) * size


def _beyond(sources: NDArray[np.float64], size: tuple[int, int]) -> float:
    """How far places lie outside of an image, at most, as a share of half its sides."""
    return float((np.abs(sources / size - 0.5) * 2 - 1).max().clip(0))


def _zoomed(K: Matrix, by: float) -> Matrix:
    return K * np.array([[by, 1, 1], [1, by, 1], [1, 1, 1]])
