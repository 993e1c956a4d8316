"""What a film itself tells before anything is estimated: where it cuts, which frames repeat the one before, and which show nothing.

A cut is a transition that nothing can be followed across, neither from frame to frame nor past the next few frames (a flash or a passer-by
hides one to three of them), between frames that follow each other well. So a fast pan, a stumble or a series of single photos is no cut: there
the transitions around are as bad. A dissolve, and a jump in time before a camera that stands still, are not found.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class CutOptions:
    """Numbers of the survey. Those of following were read off seven real clips and two generated ones: across 400 changes from one to another none
    of the corners is followed, between neighbouring frames .55 or more; between painted canvases .035 or less.

    Attributes:
        side: longer side of the images that are looked at, pixels.
        corners: how many corners are followed at most.
        back: greatest distance, pixels, between a corner and where following it forth and back ends.
        alike: least correlation of the 9 pixel patches around a followed corner.
        agree: two of the three followed corners nearest to one went as it did, up to this many pixels.
        lost: at most this share of the corners followed means that nothing connects two frames.
        followed: least mean share of the neighbouring transitions on each side.
        around: neighbouring transitions on either side.
        reach: frames on either side between which a connection is looked for.
        blank: least deviation of grey levels of a frame that shows something.
        repeated: greatest change, grey levels, of any 10 pixel block of a frame that repeats the one before ...
        repeated_share: ... and at most this share of the film's median change.
    """

    side: int = 160
    corners: int = 200
    back: float = 1.0
    alike: float = 0.8
    agree: float = 2.0
    lost: float = 0.06
    followed: float = 0.3
    around: int = 2
    reach: int = 4
    blank: float = 3.0
    repeated: float = 1.5
    repeated_share: float = 0.1


@dataclass(frozen=True)
class Survey:
    """What was found in a film of T frames.

    Attributes:
        cuts: numbers of the frames that begin a new shot, increasing, none of them 0.
        blank: (T,) bool, the frame is of one colour.
        dark: (T,) bool, it is blank and black.
        repeated: (T,) bool, the frame repeats the one before.
    """

    cuts: tuple[int, ...]
    blank: NDArray[np.bool_]
    dark: NDArray[np.bool_]
    repeated: NDArray[np.bool_]

    @property
    def shows(self) -> NDArray[np.bool_]:
        """(T,) bool, the frame shows something new."""
        return ~(self.blank | self.repeated)

    @property
    def shots(self) -> list[NDArray[np.int64]]:
        """The numbers of the frames of each shot that show something new, in order; shots without any are left out."""
        pieces = np.split(np.arange(len(self.blank)), self.cuts)
        return [kept for piece in pieces if len(kept := piece[self.shows[piece]])]


@dataclass
class _Open:
    """A transition that may be a cut, waiting for the frames behind it."""

    number: int
    before: list[Grey]
    after: list[Grey] = field(default_factory=list)


def survey(images: Iterable[NDArray[Any]], options: CutOptions = CutOptions()) -> Survey:
    """Look at every frame (H, W, 3) uint8 of a film once, in order; a few small ones are kept at a time."""
    blank, dark, change, share, first = list[bool](), list[bool](), list[float](), list[float](), list[int]()
    lately, waiting, settled = deque[Grey](maxlen=options.reach), list[_Open](), dict[int, bool]()
    last: NDArray[Any] | None = None
    for number, image in enumerate(images):
        small = shrunk(image, options.side)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        change.append(np.inf if last is None else largest_change(last, small))
        last = small
        blank.append(float(grey.std()) < options.blank)
        dark.append(blank[-1] and float(grey.mean()) < 40)
        if blank[-1]:
            continue
        even = evened(grey)
        if lately:
            share.append(followed(lately[-1], even, options))
            first.append(number)
            for transition in waiting:
                transition.after.append(even)
            if share[-1] <= options.lost:
                waiting.append(_Open(len(share) - 1, list(lately), [even]))
        lately.append(even)
        for transition in [w for w in waiting if len(w.after) == options.reach]:
            settled[transition.number] = connected(transition.before, transition.after, options)
            waiting.remove(transition)
    settled |= {w.number: connected(w.before, w.after, options) for w in waiting}
    cuts = tuple(first[n] for n, held in sorted(settled.items()) if not held and amid_followed(share, n, options))
    changes = np.array(change)
    usual = float(np.median(changes[1:])) if len(changes) > 1 else 0.0
    repeated = changes < min(options.repeated, options.repeated_share * usual)
    return Survey(cuts, np.array(blank), np.array(dark), repeated & ~np.array(blank))


def amid_followed(share: Sequence[float], number: int, options: CutOptions) -> bool:
    """Whether the transitions on either side of transition `number` are ones that can be followed."""
    sides = (share[max(0, number - options.around) : number], share[number + 1 : number + 1 + options.around])
    return any(sides) and all(float(np.mean(side)) >= options.followed for side in sides if side)


def connected(before: Sequence[Grey], after: Sequence[Grey], options: CutOptions) -> bool:
    """Whether something is followed from any of the frames `before` a transition to any of those `after` it."""
    return any(followed(a, b, options) > options.lost for a in reversed(before) for b in after)


def followed(a: Grey, b: Grey, options: CutOptions) -> float:
    """Share of the corners of `a` that pyramidal Lucas-Kanade finds in `b` and back again, looking alike there and moved as those beside them."""
    points = cv2.goodFeaturesToTrack(a, options.corners, 0.01, 5)
    if points is None:
        return 0.0
    search: dict[str, Any] = {"winSize": (11, 11), "maxLevel": 4, "criteria": (3, 20, 0.03)}
    there, found, _ = cv2.calcOpticalFlowPyrLK(a, b, points, None, **search)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(b, a, there, None, **search)
    start, end, again = (p.reshape(-1, 2) for p in (points, there, back))
    held = (found.ravel() > 0) & (found_back.ravel() > 0) & (np.linalg.norm(again - start, axis=1) < options.back)
    held &= ((end >= 0) & (end < a.shape[::-1])).all(1)
    alike = [i for i in np.flatnonzero(held) if _correlation(a, b, start[i], end[i]) > options.alike]
    if len(alike) < 4:
        return 0.0
    moved = (end - start)[alike]
    beside = cKDTree(start[alike]).query(start[alike], 4)[1][:, 1:]
    differ = np.sort(np.linalg.norm(moved[beside] - moved[:, None], axis=-1), axis=1)
    return float((differ[:, 1] < options.agree).sum()) / len(points)


def _correlation(a: Grey, b: Grey, at: NDArray[Any], there: NDArray[Any]) -> float:
    one, two = (cv2.getRectSubPix(i, (9, 9), (float(p[0]), float(p[1]))).astype(np.float64) for i, p in ((a, at), (b, there)))
    one, two = one - one.mean(), two - two.mean()
    return float((one * two).sum() / max(np.sqrt((one**2).sum() * (two**2).sum()), 1e-9))


def shrunk(image: NDArray[Any], side: int) -> NDArray[np.uint8]:
    """(h, w, 3) RGB with a longer side of `side` pixels, averaged over areas."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(np.ascontiguousarray(image[..., :3]), size, interpolation=cv2.INTER_AREA), np.uint8)


def evened(grey: NDArray[Any]) -> Grey:
    """Grey levels freed from exposure and from slow shading: local mean 128 and deviation 40, so that a change of light is no change."""
    values = grey.astype(np.float32)
    rest = values - cv2.GaussianBlur(values, (0, 0), 8)
    spread = np.sqrt(cv2.GaussianBlur(rest * rest, (0, 0), 8)) + 4  # 4 grey levels: noise on a bare wall is no texture
    return np.clip(rest / spread * 40 + 128, 0, 255).astype(np.uint8)


def largest_change(a: NDArray[Any], b: NDArray[Any], block: int = 10) -> float:
    """Largest mean difference, grey levels, of any block of two images (h, w, 3)."""
    difference = np.abs(a.astype(np.float32) - b.astype(np.float32)).mean(-1)
    rows, columns = (max(1, n // block) for n in difference.shape)
    return max(float(part.mean()) for strip in np.array_split(difference, rows) for part in np.array_split(strip, columns, axis=1))
