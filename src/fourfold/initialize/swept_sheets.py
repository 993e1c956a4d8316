"""Movers before a camera that stays in place: seeds on sheets, alive as long as the flow carries them slowly and straight.

Such a camera never shows another side of a body, and what is told of its depth is a guess: no motion of a whole body is needed, the flow alone tells
where a pixel goes. The training images of each view are swept in turn. A seed follows the flow until it leaves the masks or the picture, takes
another colour, lies before or behind its body's sheet, is lost by the flow, hurries, or until no single velocity explains its path. What no living
seed covers in an image gets new ones: squares of pixels as large as the detail there allows. So a cup that rests is explained by few seeds that
live as long as it rests, the pattern of a shirt by small ones, and a waving hand by seeds of one image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.counting import counted
from fourfold.geometry.rows import Rows
from fourfold.initialize.flow_slip import CONFIDENT, flow_on_movers, flow_velocities
from fourfold.initialize.followed_bodies import BodyNumbers
from fourfold.initialize.frames import Frame, read_frame, unproject_pixels
from fourfold.initialize.sheet_seeds import sheet_depth
from fourfold.priors.contracts import Flow, Priors

Array = NDArray[np.float64]
Picture = NDArray[np.float32]
Mask = NDArray[np.bool_]

SIDES = (8, 4, 2, 1)
"""Sides in pixels of the squares that seeds stand for, the largest first."""
HELD = 0.5
"""Share of a square that must be uncovered, and of the smallest neighbourhood: cracks between living seeds stay as they are."""
FALLS = 0.35
"""By which power of `SweepNumbers.detail` the number of seeds falls, before two sweeps tell it."""
ROOM = (0.95, 1.02)
"""Shares of the seeds asked for that are near enough."""


@dataclass(frozen=True)
class SweepNumbers:
    """How seeds are born and what ends their lives.

    Attributes:
        detail: a square stands for pixels whose squared error (mean over RGB, 0 to 1, summed over them) against the image blurred like the square is
            no larger: where all seeds are few enough.
        blur: standard deviation of a square as a share of its side.
        hurries: pixels from one training image to the next, beside what rests, from which a seed's own image alone tells where it goes: there a
            path bends; crowded: the same where all seeds would be too many.
        off, off_share: pixels by which a path may leave its straight line, and as many more as this share of its square's side.
        color: mean absolute difference over RGB (0 to 1) from the colour that it began with, both images blurred like the square.
        deeper: difference of the logarithms of its depth and its sheet's there.
    """

    detail: float = 0.005
    blur: float = 0.5
    hurries: float = 0.5
    crowded: float = 5.0
    off: float = 0.1
    off_share: float = 0.1
    color: float = 0.05
    deeper: float = 0.03


@dataclass(frozen=True)
class SweptSeeds(Rows):
    """P seeds: `means` (P, 3) at the middle of their lives, `velocities` (P, 2, 3) before and after it, scene units per second; `side` (P,) of their
    squares in scene units; `color` (P, 3); `begin` and `end` (P,) seconds of the first and last image that confirms them."""

    means: Array
    velocities: Array
    side: Array
    color: Picture
    begin: Array
    end: Array


@dataclass(frozen=True)
class _Seeds(Rows):
    """Seeds on their way: born in training image `number` at pixels `xy`, at `depth` there and `start` in the world, with squares of `side` pixels;
    `place` and `at` are where they are now, `low` and `high` bound the velocities that explain their paths, and `nearer` sums the logarithms of their
    sheets' depths over their own."""

    start: Array
    place: Array
    low: Array
    high: Array
    xy: Array
    at: Array
    depth: Array
    nearer: Array
    side: NDArray[np.int64]
    number: NDArray[np.int64]
    images: NDArray[np.int64]
    begin: Array
    end: Array
    color: Picture


@dataclass(frozen=True)
class _Image:
    """Training image `number` at `time`, seconds, with its sheet's depths, and by the side of a square the image blurred like it and what is lost."""

    frame: Frame
    number: int
    time: float
    sheet: NDArray[np.float64]
    blurred: dict[int, Picture]
    lost: dict[int, Picture]

    def colors(self, xy: Array, side: NDArray[np.int64]) -> Picture:
        """(P, 3) at pixels `xy` (P, 2), blurred like squares of `side` (P,)."""
        column, row = xy.astype(np.int64).T
        result = np.zeros((len(xy), 3), np.float32)
        for one, image in self.blurred.items():
            mine = side == one
            result[mine] = image[row[mine], column[mine]]
        return result


def seeds_within(
    capture: Capture, priors: Priors, most: float, bodies: BodyNumbers = BodyNumbers(), numbers: SweepNumbers = SweepNumbers(), tries: int = 5
) -> SweptSeeds | None:
    """`swept_seeds`, `most` of them or hardly more: with less detail and longer lives where there would be too many, the best of so many `tries`.
    More where even the largest squares are more."""
    seeds = swept_seeds(capture, priors, bodies, numbers)
    if seeds is None or len(seeds) <= ROOM[1] * most:
        return seeds
    many, few, kept = (np.log(numbers.detail), np.log(len(seeds) / most)), None, seeds
    numbers = replace(numbers, hurries=numbers.crowded)
    for _ in range(tries):
        share = 0.0 if few is None else np.clip(many[1] / (many[1] - few[1]), 0.1, 0.9)
        detail = many[0] + (min(3.0, many[1] / FALLS) if few is None else share * (few[0] - many[0]))
        seeds = swept_seeds(capture, priors, bodies, replace(numbers, detail=float(np.exp(detail)))) or seeds
        excess = np.log(len(seeds) / most)
        if excess > np.log(ROOM[1]):
            many, kept = (detail, excess), seeds if few is None else kept
        else:
            few, kept = (detail, excess), seeds
        if np.log(ROOM[0]) <= excess <= np.log(ROOM[1]):
            break
    return kept


def swept_seeds(capture: Capture, priors: Priors, bodies: BodyNumbers = BodyNumbers(), numbers: SweepNumbers = SweepNumbers()) -> SweptSeeds | None:
    """Seeds that together cover what moves in every training image where enough does; None where no mask shows it."""
    living, before = dict[int, _Seeds](), dict[int, Frame]()
    done: list[_Seeds] = []
    for number, (view, index) in enumerate(counted(capture.train_frames(), "seeds of what moves")):
        frame = read_frame(capture, priors, view, index)
        image = _image(frame, number, float(capture.timestamps[index]), bodies, numbers)
        seeds = living.pop(view, None)
        if seeds is not None and image is not None:
            moved, lives = _carried(seeds, before[view], image, priors.flow, numbers)
            done.append(seeds.rows(~lives))
            seeds = moved.rows(lives)
        elif seeds is not None:
            done.append(seeds)
        if image is not None:
            living[view] = _with_born(seeds, image, numbers.detail)
        before[view] = frame
    done += living.values()
    return _finished(capture, priors, _Seeds.joined(done)) if sum(map(len, done)) else None


def _image(frame: Frame, number: int, time: float, bodies: BodyNumbers, numbers: SweepNumbers) -> _Image | None:
    sheet = sheet_depth(frame, bodies) if frame.moving.sum() >= bodies.fewest else None
    if sheet is None:
        return None
    blurred = {side: cv2.GaussianBlur(frame.color, (0, 0), numbers.blur * side) for side in SIDES}
    lost = {side: squares(np.square(frame.color - image).mean(2), side) for side, image in blurred.items()}
    return _Image(frame, number, time, sheet, blurred, lost)


def squares(values: NDArray[np.generic], side: int) -> Picture:
    """(ceil(H / side), ceil(W / side)) sums of `values` (H, W) over squares; beyond the border there is nothing."""
    height, width = values.shape
    padded = np.pad(values.astype(np.float32), ((0, -height % side), (0, -width % side)))
    return padded.reshape(padded.shape[0] // side, side, padded.shape[1] // side, side).sum((1, 3))


def _carried(seeds: _Seeds, before: Frame, image: _Image, flow: Flow | None, numbers: SweepNumbers) -> tuple[_Seeds, Mask]:
    """`seeds` at the moment of `image`, and which of them live until then."""
    frame = image.frame
    resting, depth = frame.project(seeds.place)
    step, sure = _steps(flow, before, seeds.at)
    lives = sure & frame.pictured(seeds.at + step, depth) & (np.linalg.norm(seeds.at + step - resting, axis=1) <= numbers.hurries)
    at = np.where(lives[:, None], seeds.at + step, 0.5)
    column, row = at.astype(np.int64).T
    place = unproject_pixels(frame.K, frame.world_to_camera, at, depth)
    reach = ((numbers.off + numbers.off_share * seeds.side) * seeds.depth / frame.K[0, 0])[:, None]
    way, since = place - seeds.start, (image.time - seeds.begin)[:, None]
    low, high = np.maximum(seeds.low, (way - reach) / since), np.minimum(seeds.high, (way + reach) / since)
    nearer = np.log(np.maximum(image.sheet[row, column], 1e-9) / np.maximum(depth, 1e-9))
    lives &= frame.moving[row, column] & (np.abs(nearer) <= numbers.deeper) & (low <= high).all(1)
    lives &= np.abs(image.colors(at, seeds.side) - seeds.color).mean(1) <= numbers.color
    end, images = np.full(len(seeds), image.time), seeds.images + 1
    return replace(seeds, place=place, at=at, low=low, high=high, nearer=seeds.nearer + nearer, images=images, end=end), lives


def _steps(flow: Flow | None, before: Frame, at: Array) -> tuple[Array, Mask]:
    """Pixels (P, 2) that the flow moves what is `at` (P, 2) in image `before`, and whether it is sure."""
    if flow is None:
        return np.zeros(at.shape), np.zeros(len(at), bool)
    column, row = at.astype(np.int64).T
    field, trust = flow.forward[before.view][before.index], flow.forward_confidence[before.view][before.index]
    return flow_on_movers(field, trust, before.moving)[row, column].astype(np.float64), trust[row, column] > CONFIDENT


def _with_born(seeds: _Seeds | None, image: _Image, detail: float) -> _Seeds:
    """`seeds` and new ones on what they leave uncovered of what moves in `image`."""
    moving = image.frame.moving
    free = moving if seeds is None else moving & ~_covered(seeds, moving.shape)
    parts = [] if seeds is None else [seeds]
    for side in SIDES:
        born = _open(free, moving, side) & (image.lost[side] <= detail if side > 1 else True)
        parts.append(_born(image, born, side))
        free = free & ~np.kron(born, np.ones((side, side), bool))[: free.shape[0], : free.shape[1]]
    return _Seeds.joined(parts)


def _covered(seeds: _Seeds, shape: tuple[int, ...]) -> Mask:
    """(H, W) pixels on which the square of a seed lies."""
    edge = SIDES[0]
    result = np.zeros((shape[0] + 2 * edge, shape[1] + 2 * edge), bool)
    for side in SIDES:
        column, row = np.round(seeds.at[seeds.side == side] - side / 2).astype(np.int64).T + edge
        for place in range(side**2):
            result[row + place // side, column + place % side] = True
    return result[edge:-edge, edge:-edge]


def _open(free: Mask, moving: Mask, side: int) -> Mask:
    """Squares of which enough is `free` (H, W), and all of which moves: of small ones, on the rim of what moves, enough."""
    if side == 1:
        around = (3, 3)
        return free & (cv2.blur(free.astype(np.float32), around) >= HELD * cv2.blur(moving.astype(np.float32), around))
    whole = HELD if side == 2 else 1.0
    return (squares(free, side) >= HELD * side**2) & (squares(moving, side) >= whole * side**2)


def _born(image: _Image, born: Mask, side: int) -> _Seeds:
    """Seeds in the middles of the squares `born`."""
    frame = image.frame
    row, column = np.nonzero(born)
    xy = np.minimum((np.stack([column, row], axis=1) + 0.5) * side, np.array(frame.moving.shape[::-1]) - 0.5)
    depth = image.sheet[tuple(xy.astype(np.int64).T[::-1])]
    xy, depth = xy[depth > 0], depth[depth > 0]
    count = len(xy)
    start, sides = unproject_pixels(frame.K, frame.world_to_camera, xy, depth), np.full(count, side)
    ever, moment = np.full((count, 3), np.inf), np.full(count, image.time)
    none, first, number = np.zeros(count), np.ones(count, np.int64), np.full(count, image.number)
    return _Seeds(start, start, -ever, ever, xy, xy, depth, none, sides, number, first, moment, moment, image.colors(xy, sides))


def _finished(capture: Capture, priors: Priors, seeds: _Seeds) -> SweptSeeds:
    """Seeds of several images on the line through their paths, those of one where the flow before and after it says; each at the mean of its sheets'
    distances, seen from where the camera stood."""
    frames = capture.train_frames()
    pose = np.stack([capture.world_to_camera[frame] for frame in frames])
    eye = -np.einsum("fji,fj->fi", pose[:, :3, :3], pose[:, :3, 3])[seeds.number]
    focal = np.array([capture.K[frame][0, 0] for frame in frames])[seeds.number]
    several = seeds.images > 1
    velocities, straight = np.zeros((len(seeds), 2, 3)), np.zeros((len(seeds), 3))
    straight[several] = (seeds.low[several] + seeds.high[several]) / 2
    velocities[~several] = flow_velocities(capture, priors, seeds.number[~several], seeds.xy[~several], seeds.depth[~several])
    velocities[several] = straight[several, None]
    means = seeds.start + straight * ((seeds.end - seeds.begin) / 2)[:, None]
    away = np.exp(seeds.nearer / seeds.images)
    side = seeds.side * seeds.depth / focal * away
    return SweptSeeds(eye + away[:, None] * (means - eye), away[:, None, None] * velocities, side, seeds.color, seeds.begin, seeds.end)
