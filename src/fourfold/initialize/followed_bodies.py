"""Moving bodies followed by their masks alone: parts of the mask, told apart by depth, linked from image to image.

A small ball or a far bird has no tracks that last; its mask has a middle all the same. A body with hardly any tracks is carried by a motion of
its own, the path of that middle, instead of by its neighbours' motion.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.initialize.frames import Frame


@dataclass(frozen=True)
class BodyNumbers:
    """What one body is, and when two are the same.

    Attributes:
        relief: bodies whose depths differ by less than this share may be one; no pixel's depth differs from its body's by more.
        thick: nor does it by more than this share of the body's size, the root of its area: a usual body is a third to a half as deep as large.
        fewest: a part with fewer pixels is no body of its own.
        near: a body is found again within this many of its diameters from where it is expected.
        change: largest factor between its areas in neighbouring images.
        gap: images in which it may be missed; images: a body seen in fewer is not followed.
        smooth: images over which the median of its depth is taken: one depth that changes slowly.
    """

    relief: float = 0.15
    thick: float = 0.3
    fewest: int = 30
    near: float = 1.0
    change: float = 2.5
    gap: int = 3
    images: int = 3
    smooth: int = 9


@dataclass
class FollowedBody:
    """One body of one view: its `masks` (H, W) by number of the training image, its middle `xy` in pixels and its median `depth` there."""

    view: int
    masks: dict[int, NDArray[np.bool_]] = field(default_factory=dict)
    xy: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    depth: dict[int, float] = field(default_factory=dict)

    def expected(self, number: int) -> NDArray[np.float64]:
        """(2,) pixels: its last middle, moved on by its last step."""
        *_, last = self.xy
        before = [n for n in self.xy if n < last]
        step = (self.xy[last] - self.xy[before[-1]]) / (last - before[-1]) if before else np.zeros(2)
        return self.xy[last] + step * (number - last)

    def add(self, number: int, mask: NDArray[np.bool_], depth: float) -> None:
        """See it in training image `number`."""
        row, column = np.nonzero(mask)
        self.masks[number], self.depth[number] = mask, depth
        self.xy[number] = np.array([column.mean() + 0.5, row.mean() + 0.5])

    def path(self, frames: dict[int, Frame], smooth: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Time indices (F,) and world middles (F, 3) of the images that show it, at depths that are medians over `smooth` images."""
        numbers = list(self.masks)
        depths = np.array([self.depth[n] for n in numbers])
        half = smooth // 2
        steady = [float(np.median(depths[max(0, i - half) : i + half + 1])) for i in range(len(depths))]
        places: list[NDArray[np.float64]] = []
        for number, depth in zip(numbers, steady, strict=True):
            frame = frames[number]
            ray = np.linalg.inv(frame.K) @ np.append(self.xy[number], 1.0)
            places.append((ray * depth - frame.world_to_camera[:3, 3]) @ frame.world_to_camera[:3, :3])
        return np.array([frames[n].index for n in numbers]), np.stack(places)


def bodies_of(moving: NDArray[np.bool_], depth: NDArray[np.float32], numbers: BodyNumbers) -> list[NDArray[np.bool_]]:
    """Disjoint masks (H, W) of the bodies in one image, the largest first.

    A body is a connected part of the mask; what lies farther than `relief` from its median depth and is connected in itself, such as a ball before
    a man, is another.
    """
    waiting, found = connected_parts(moving, 1), list[NDArray[np.bool_]]()
    while waiting:
        part = waiting.pop()
        values = depth[part & (depth > 0)]
        if not len(values):
            found.append(part)
            continue
        away = part & (depth > 0) & (np.abs(np.log(np.maximum(depth, 1e-9) / np.median(values))) > numbers.relief)
        others = connected_parts(away, numbers.fewest)
        rest = part & ~np.any(others, axis=0) if others else part
        found.append(rest)
        waiting += others if rest.any() else []
    return sorted(found, key=lambda one: -int(one.sum()))


def connected_parts(mask: NDArray[np.bool_], fewest: int) -> list[NDArray[np.bool_]]:
    """The connected parts of `mask` with at least `fewest` pixels."""
    count, label, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return [label == n for n in range(1, count) if statistics[n, cv2.CC_STAT_AREA] >= fewest]


def follow_bodies(frames: dict[int, Frame], numbers: BodyNumbers = BodyNumbers()) -> list[FollowedBody]:
    """Bodies of the training images `frames` (by number, in order of time), linked within each view; the largest of an image choose first."""
    followed: list[FollowedBody] = []
    for number, frame in frames.items():
        free = [body for body in followed if body.view == frame.view and 0 < number - max(body.masks) <= numbers.gap]
        for mask in bodies_of(frame.moving, frame.depth, numbers):
            known = mask & (frame.depth > 0)
            if mask.sum() < numbers.fewest or not known.any():
                continue
            body = _same(free, number, mask, numbers)
            if body is None:
                body = FollowedBody(frame.view)
                followed.append(body)
            else:
                free = [other for other in free if other is not body]
            body.add(number, mask, float(np.median(frame.depth[known])))
    return [body for body in followed if len(body.masks) >= numbers.images]


def _same(free: list[FollowedBody], number: int, mask: NDArray[np.bool_], numbers: BodyNumbers) -> FollowedBody | None:
    """The body of `free` that `mask` shows, None if it is a new one."""
    row, column = np.nonzero(mask)
    middle, area = np.array([column.mean() + 0.5, row.mean() + 0.5]), len(row)
    reach = numbers.near * 2 * np.sqrt(area / np.pi)
    best, nearest = None, reach
    for body in free:
        change = area / max(1, int(body.masks[max(body.masks)].sum()))
        distance = float(np.linalg.norm(body.expected(number) - middle))
        if max(change, 1 / change) <= numbers.change and distance <= nearest:
            best, nearest = body, distance
    return best
