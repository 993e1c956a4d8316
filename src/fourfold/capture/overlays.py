"""What is on a film and not in the scene: black bars, burnt-in text and watermarks.

Bars are rows or columns at the border that stay black, up to a sharp straight edge. Text and marks are found where the camera moves: there strong
edges of the scene shift from frame to frame, and those of an overlay stay on their pixels. Where the camera stands, whatever moves before it or in
the wind, an overlay is a part of the still scene and does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.glimpses import Burst

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class OverlayLimits:
    """Numbers of the search, for 8-bit levels.

    Attributes:
        black: brightest level of a bar.
        bar_filled: share of a bar's row that must be black; the rest may hold a subtitle.
        bar_least: smallest bar, share of the side.
        bar_edge: share of the row inside a bar's edge that must be brighter than it.
        unequal: difference of opposite bars, share of the side, up to which they belong together.
        edge: gradient, levels per pixel, of an edge that is looked at.
        stays: change, levels, of a pixel that is the same in two frames.
        slope: gradient, levels per pixel, of the softer edges by which the scene is seen to move.
        sloping: share of the image that must have such edges.
        moving: share of them that must change between the two frames.
        looked_at, cells, still, standing: the camera stands where beside what was found, in images of so many pixels, in at least this share of so
            large cells the median point stays within so many pixels; where it moves there is none.
        reach: pixels at 640 wide by which edges of one text are joined.
        least: edge pixels, share of the image's, of the smallest text.
        most: share of the image above which what was found is no overlay.
        agree: share of the bursts in which a pixel must stay to be a mark; a text may come and go, so the least is one burst of three.
    """

    black: int = 28
    bar_filled: float = 0.6
    bar_least: float = 0.02
    bar_edge: float = 0.3
    unequal: float = 0.02
    edge: float = 40.0
    stays: float = 6.0
    slope: float = 6.0
    sloping: float = 0.02
    moving: float = 0.5
    looked_at: int = 320
    cells: int = 40
    still: float = 0.075
    standing: float = 0.1
    reach: int = 9
    least: float = 0.0004
    most: float = 0.25
    agree: float = 0.3


@dataclass(frozen=True)
class Overlays:
    """What was found: bars (top, bottom, left, right) in pixels, and (H, W) bool of text and marks."""

    bars: tuple[int, int, int, int]
    marks: NDArray[np.bool_]

    @property
    def found(self) -> bool:
        """Whether there is anything."""
        return any(self.bars) or bool(self.marks.any())

    @property
    def words(self) -> str:
        """What was found, for the report."""
        sides = [f"{n} pixels {side}" for n, side in zip(self.bars, ("at the top", "at the bottom", "at the left", "at the right"), strict=True) if n]
        bars = f"black bars of {' and '.join(sides)}" if sides else ""
        marks = f"burnt-in text or marks over {self.marks.mean():.1%} of the image" if self.marks.any() else ""
        return f"{' and '.join(w for w in (bars, marks) if w)} are left out"

    def enlarged(self, size: tuple[int, int]) -> Overlays:
        """The same for frames of `size`, of which those that were looked at are reduced ones."""
        height, width = self.marks.shape
        if size == (width, height):
            return self
        sides = zip(self.bars, (size[1], size[1], size[0], size[0]), (height, height, width, width), strict=True)
        bars = [-(-bar * whole // part) for bar, whole, part in sides]
        return Overlays((bars[0], bars[1], bars[2], bars[3]), cv2.resize(self.marks.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0)

    def valid(self) -> NDArray[np.uint8]:
        """(H, W) 255 where the scene is seen, 0 under an overlay."""
        top, bottom, left, right = self.bars
        mask = np.where(self.marks, 0, 255).astype(np.uint8)
        mask[:top], mask[:, :left] = 0, 0
        mask[mask.shape[0] - bottom :], mask[:, mask.shape[1] - right :] = 0, 0
        return mask


def find_overlays(seen: Sequence[Burst], limits: OverlayLimits = OverlayLimits()) -> Overlays:
    """Bars and marks of frames of one size (H, W, 3); nothing in fewer than two bursts."""
    height, width = seen[0][0].shape[:2] if seen else (1, 1)
    nothing = Overlays((0, 0, 0, 0), np.zeros((height, width), bool))
    if len(seen) < 2:
        return nothing
    greys = [(_grey(a), _grey(b)) for a, b in seen]
    brightest = np.max([g for pair in greys for g in pair], axis=0)
    top, bottom = _pair_of_bars(brightest, limits)
    left, right = _pair_of_bars(np.ascontiguousarray(brightest[top : height - bottom].T), limits)
    return Overlays((top, bottom, left, right), _marks(greys, (top, bottom, left, right), limits))


def _grey(image: NDArray[np.uint8]) -> Grey:
    return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)


def _pair_of_bars(brightest: Grey, limits: OverlayLimits) -> tuple[int, int]:
    """Rows of the bars at the top and at the bottom, (0, 0) if there are none or only one that might be the scene's."""
    first, last = _bar(brightest, limits), _bar(brightest[::-1], limits)
    equal = abs(first - last) <= max(2, limits.unequal * len(brightest))
    return (first, last) if first and last and equal else (0, 0)


def _bar(brightest: Grey, limits: OverlayLimits) -> int:
    """Rows from the first on that are black, 0 without a sharp edge behind them."""
    black = (brightest <= limits.black).mean(axis=1) >= limits.bar_filled
    count = int(np.argmin(black)) if not black.all() else 0
    # Coding blurs the edge over a few rows; behind them the scene must begin along much of the row.
    behind = brightest[count : count + 4]
    sharp = len(behind) and float((behind.max(axis=0) > limits.black + 16).mean()) >= limits.bar_edge
    return count if sharp and limits.bar_least * len(brightest) <= count < 0.4 * len(brightest) else 0


def _marks(greys: Sequence[tuple[Grey, Grey]], bars: tuple[int, int, int, int], limits: OverlayLimits) -> NDArray[np.bool_]:
    """(H, W) bool under text and marks, joined and grown by a few pixels."""
    height, width = greys[0][0].shape
    top, bottom, left, right = bars
    inside = np.zeros((height, width), bool)
    inside[top + 2 * (top > 0) : height - bottom - 2 * (bottom > 0), left + 2 * (left > 0) : width - right - 2 * (right > 0)] = True
    count, moving = np.zeros((height, width), np.int64), 0
    for before, after in greys:
        edges = inside & (_steepness(before) > limits.edge)
        stays = edges & (cv2.absdiff(before, after) <= limits.stays) & (_steepness(after) > limits.edge)
        # An edge that moved leaves some pixels as they were by chance: only groups of them count as staying.
        stays &= cv2.boxFilter(stays.astype(np.float32), -1, (5, 5)) > 0.8 * cv2.boxFilter(edges.astype(np.float32), -1, (5, 5))
        if _moves(before, after, inside & ~(cv2.dilate(stays.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0), limits):
            count, moving = count + stays, moving + 1
    if moving < 2:
        return np.zeros((height, width), bool)
    reach = max(3, round(limits.reach * width / 640)) | 1
    kept = (count >= max(1, limits.agree * moving)).astype(np.uint8)
    joined = cv2.morphologyEx(kept, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8))
    number, labels = cv2.connectedComponents(joined)
    sizes = np.bincount(labels[kept > 0], minlength=number)
    large = sizes >= limits.least * height * width
    large[0] = False
    marks = cv2.dilate(large[labels].astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
    stands = float(np.median([_standing(*pair, inside & ~marks, limits) for pair in greys])) >= limits.standing if marks.any() else False
    return np.zeros((height, width), bool) if stands or marks.mean() > limits.most else marks


def _moves(before: Grey, after: Grey, where: NDArray[np.bool_], limits: OverlayLimits) -> bool:
    """Whether the scene moves between two frames: most of its slopes, soft ones too, are not what they were."""
    slopes = where & (_steepness(before) > limits.slope)
    changed = slopes & (cv2.absdiff(before, after) > limits.stays)
    return bool(slopes.sum() >= limits.sloping * where.size and changed.sum() >= limits.moving * slopes.sum())


def _standing(before: Grey, after: Grey, where: NDArray[np.bool_], limits: OverlayLimits) -> float:
    """Share of the cells with points to follow whose median point stays where it is."""
    scale = limits.looked_at / max(before.shape)
    small = [cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for grey in (before, after)]
    asked = cv2.resize(where.astype(np.uint8), small[0].shape[::-1], interpolation=cv2.INTER_NEAREST)
    points = cv2.goodFeaturesToTrack(small[0], 300, 0.01, 6, mask=asked)
    if points is None:
        return 0.0
    followed, held, _ = cv2.calcOpticalFlowPyrLK(small[0], small[1], points, points.copy(), winSize=(15, 15), maxLevel=3)
    kept = held[:, 0] > 0
    away = np.linalg.norm((followed - points)[kept, 0], axis=1)
    cell = (points[kept, 0] // limits.cells).astype(int) @ [1000, 1]
    return float(np.mean([np.median(away[cell == c]) <= limits.still for c in np.unique(cell)])) if len(away) else 0.0


def _steepness(grey: Grey) -> NDArray[np.float32]:
    """Levels per pixel of the steepest slope."""
    x, y = (cv2.Sobel(grey, cv2.CV_32F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1)))
    return cv2.magnitude(x, y)
