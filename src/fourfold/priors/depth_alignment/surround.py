"""The static surroundings of a few cameras far apart: the room of few numbers under which their images agree best.

Cameras 90 degrees apart share hardly any detail that a plane sweep could match, but floor and walls are seen by several of them. A room
(floor, and a dome, cylinder or box) predicts where each pixel lies in the other images; its numbers are those for which small patches of
the mean images correlate best. It starts where the cameras stand and where the movers' feet are (spec calibration.md C: floor and dome
through the cameras).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Masks
from fourfold.priors.depth.rig import Stage
from fourfold.priors.depth_alignment.surround_shapes import Points, Room, Walls
from fourfold.priors.tracking.track_step import grey_of

Image = NDArray[np.float32]


@dataclass(frozen=True)
class SurroundNumbers:
    """How the room is sought.

    Attributes:
        width: pixels of the images that are compared.
        frames: moments whose mean makes a camera's static image.
        window: side of the patches that are correlated, pixels of the small images.
        sizes: walls tried at first, in distances of the farthest camera from the stage's centre.
        turns: orientations of the box that are tried over a quarter turn.
        rounds: of the coordinate search; each halves its steps, the first is `step` of the room's size.
        texture: standard deviation in grey levels of 255 below which a patch says little.
        doubt: share of the image's area that counts as uncorrelated, so that rooms with hardly any common view do not win.
    """

    width: int = 160
    frames: int = 24
    window: int = 7
    sizes: tuple[float, ...] = (0.85, 1.0, 1.15, 1.35, 1.6, 2.0)
    turns: int = 6
    rounds: int = 5
    step: float = 0.12
    texture: float = 4.0
    doubt: float = 0.05


@dataclass(frozen=True)
class Still:
    """One camera without what moves: grey (h, w) and where it is known (h, w) 1.0, with its small intrinsics."""

    grey: Image
    known: Image
    K: Points
    world_to_camera: Points


def fit_room(
    capture: Capture, masks: Masks | None, stage: Stage, feet: float | None, numbers: SurroundNumbers = SurroundNumbers()
) -> tuple[Room, float]:
    """The room that the training cameras agree on, and their agreement (-1..1).

    Args:
        feet: height of the movers' lowest points above the stage's centre (negative is below), scene units; None if nothing is known.
    """
    views = [int(v) for v in np.flatnonzero(capture.train.any(axis=1))]
    stills = [still_image(capture, masks, v, numbers) for v in views]
    up = upward([s.world_to_camera for s in stills])
    east = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    east /= np.linalg.norm(east)
    floor = -feet if feet is not None else 0.5 * stage.radius
    rivals: list[Room] = []
    for size in numbers.sizes:
        half = size * stage.radius
        walls: tuple[tuple[Walls, int], ...] = (("dome", 1), ("cylinder", 1), ("box", numbers.turns))
        for kind, turns in walls:
            rivals += [Room(stage.center, up, east, kind, (floor, half, half, 0.0, 0.0), np.pi / 2 * k / turns) for k in range(turns)]
    scored = sorted(((agreement(room, stills, numbers), n) for n, room in enumerate(rivals)), reverse=True)
    best: tuple[float, Room] | None = None
    for kind in ("dome", "cylinder", "box"):
        start = next(rivals[n] for _, n in scored if rivals[n].walls == kind)
        refined = _refined(start, stills, stage.radius, numbers)
        best = refined if best is None or refined[0] > best[0] else best
    return best[1], best[0]  # type: ignore[index]


def still_image(capture: Capture, masks: Masks | None, view: int, numbers: SurroundNumbers) -> Still:
    """The mean of what a camera shows where nothing moves, small and grey; a moving camera's first image."""
    times = np.flatnonzero(capture.train[view])
    moves = not np.allclose(capture.world_to_camera[view, times], capture.world_to_camera[view, times[0]], atol=1e-5)
    times = times[:1] if moves else times[np.unique(np.linspace(0, len(times) - 1, min(numbers.frames, len(times))).round().astype(int))]
    width, height = (int(n) for n in capture.sizes[view])
    small = (min(width, numbers.width), max(1, round(height * min(width, numbers.width) / width)))
    total, count = np.zeros(small[::-1], np.float64), np.zeros(small[::-1], np.float64)
    for t in times:
        grey = grey_of(capture.image(view, int(t))).astype(np.float32)
        free = np.ones((height, width), np.float32) if masks is None else (masks.mask[view][t] < 0).astype(np.float32)
        share = cv2.resize(free, small, interpolation=cv2.INTER_AREA)
        total += np.where(share > 0.99, cv2.resize(grey, small, interpolation=cv2.INTER_AREA), 0)
        count += share > 0.99
    K = capture.K[view, times[0]].copy()
    K[:2] *= np.array([small[0] / width, small[1] / height])[:, None]
    return Still((total / np.maximum(count, 1)).astype(np.float32), (count > 0).astype(np.float32), K, capture.world_to_camera[view, times[0]])


def upward(poses: Sequence[Points]) -> Points:
    """(3,) the direction that is level in no image: across all images' x axes where these differ, else against the mean of their y axes."""
    down = np.mean([pose[1, :3] for pose in poses], axis=0)
    _, spread, axes = np.linalg.svd(np.stack([pose[0, :3] for pose in poses]))
    up = axes[2] if len(spread) > 1 and spread[1] > 0.3 * spread[0] else -down
    up = up if up @ down < 0 else -up
    return up / max(float(np.linalg.norm(up)), 1e-9)


def agreement(room: Room, stills: Sequence[Still], numbers: SurroundNumbers) -> float:
    """Mean correlation of patches over all pairs of cameras, weighted by their texture, where the room puts a pixel into both images."""
    depths = [room.depth(s.K, s.world_to_camera, *s.grey.shape) for s in stills]
    good = total = 0.0
    for a, b in itertools.permutations(range(len(stills)), 2):
        value, weight = _correlation(stills[a], depths[a], stills[b], numbers)
        good += value
        total += weight
    area = sum(s.grey.size for s in stills) * (len(stills) - 1) / max(len(stills), 1)
    return good / (total + numbers.doubt * area * numbers.texture)


def _correlation(one: Still, depth: Image, other: Still, numbers: SurroundNumbers) -> tuple[float, float]:
    """Sum over pixels of weight times correlation, and sum of weights."""
    height, width = one.grey.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float64) + 0.5
    local = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], 1) @ np.linalg.inv(one.K).T * depth.reshape(-1, 1)
    world = (local - one.world_to_camera[:3, 3]) @ one.world_to_camera[:3, :3]
    there = world @ other.world_to_camera[:3, :3].T + other.world_to_camera[:3, 3]
    front = there[:, 2] > 1e-6
    pixel = (there @ other.K.T)[:, :2] / np.where(front, there[:, 2], 1.0)[:, None]
    inside = front & (pixel > 0).all(1) & (pixel[:, 0] < other.grey.shape[1]) & (pixel[:, 1] < other.grey.shape[0])
    if inside.sum() < numbers.window**2:
        return 0.0, 0.0
    maps = [np.where(inside, pixel[:, k] - 0.5, -1).astype(np.float32).reshape(height, width) for k in (0, 1)]
    seen = cv2.remap(other.known, maps[0], maps[1], cv2.INTER_LINEAR) * one.known * inside.reshape(height, width)
    use = (seen > 0.99).astype(np.float32)
    warped = cv2.remap(other.grey, maps[0], maps[1], cv2.INTER_LINEAR) * use
    return _patches(one.grey * use, warped, use, numbers)


def _patches(a: Image, b: Image, use: Image, numbers: SurroundNumbers) -> tuple[float, float]:
    def mean(image: Image) -> Image:
        return cv2.boxFilter(image, -1, (numbers.window, numbers.window), borderType=cv2.BORDER_CONSTANT)

    share = mean(use)
    enough = (share > 0.6) & (use > 0)
    safe = np.maximum(share, 1e-6)
    mean_a, mean_b = mean(a) / safe, mean(b) / safe
    variance_a, variance_b = np.maximum(mean(a * a) / safe - mean_a**2, 0), np.maximum(mean(b * b) / safe - mean_b**2, 0)
    common = mean(a * b) / safe - mean_a * mean_b
    floor = numbers.texture**2 / 4
    correlation = common / np.sqrt((variance_a + floor) * (variance_b + floor))
    weight = np.where(enough, np.minimum(np.sqrt(np.maximum(variance_a, variance_b)), 4 * numbers.texture), 0)
    return float((weight * correlation).sum()), float(weight.sum())


def _refined(room: Room, stills: Sequence[Still], radius: float, numbers: SurroundNumbers) -> tuple[float, Room]:
    """Coordinate search over floor, half extents, offsets and turn, with halving steps."""
    score, step = agreement(room, stills, numbers), numbers.step
    for _ in range(numbers.rounds):
        for axis in range(6):
            for sign in (1.0, -1.0):
                while True:
                    tried = _moved(room, axis, sign * step, radius)
                    value = agreement(tried, stills, numbers)
                    if value <= score + 1e-5:
                        break
                    room, score = tried, value
        step /= 2
    return score, room


def _moved(room: Room, axis: int, step: float, radius: float) -> Room:
    if axis == 5:
        return replace(room, turn=room.turn + step) if room.walls == "box" else room
    size = list(room.size)
    size[axis] = size[axis] + step * radius
    if room.walls != "box" and axis in (1, 2):  # round walls have one radius
        size[3 - axis] = size[axis]
    return replace(room, size=tuple(size)) if min(size[:3]) > 0.05 * radius else room  # type: ignore[arg-type]
