"""When free-running calibrated cameras that stand began: what moves before one camera in a plane with the other moves before the other, too.

All planes through two camera centres form a pencil; each is a line in either image. A point moves in both lines of its plane at once, so the
times at which the two lines show motion, their barcodes, agree at the true offset alone. Source: motion barcodes of lines, Ben-Artzi,
Halperin, Werman and Peleg 2016 ("Epipolar geometry based on line similarity"). Offsets of all cameras are chosen together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from fourfold.capture.lens import Lens

Array = NDArray[np.float64]
Film = NDArray[np.uint8]
"""(N, h, w) small grey images of one camera."""


@dataclass(frozen=True)
class ClockNumbers:
    """Numbers of the comparison; grey levels are of 255.

    Attributes:
        width: of the images compared, pixels.
        longest: seconds from the beginning of each film that are compared.
        planes: equal angles into which the pencil of planes is divided.
        stands, differs: grey levels from the still background at which a pixel begins to count and counts fully.
        rests, changes: the same for the difference to the image before.
        overlap: share of the shorter film that must overlap, and count of moments.
        moments: see `overlap`.
        slow: seconds; the barcodes' slower changes say little about time and are taken out.
        apart: in rigs of more than `all_pairs` cameras, only those at most this many places apart in the list are compared.
        parts: of the recording, each left out once for the error bar.
        between: samples by which an offset is wrong where all parts agree, since motion between images is interpolated.
    """

    width: int = 320
    longest: float = 20.0
    planes: int = 1440
    stands: float = 6.0
    differs: float = 20.0
    rests: float = 2.0
    changes: float = 12.0
    overlap: float = 0.35
    moments: int = 10
    slow: float = 0.1
    all_pairs: int = 8
    apart: int = 3
    parts: int = 5
    between: float = 0.2


@dataclass(frozen=True)
class FixedCamera:
    """A camera that stands: direction (h, w, 3) of each small pixel in the world, and centre (3,)."""

    directions: Array
    centre: Array


@dataclass(frozen=True)
class PairScores:
    """Two films' barcodes at each of the `lags` (L,), in samples by which the second began later.

    `agreement` (L,) is their normalised correlation, `score` (L,) the same shrunk where they overlap shortly and agree by chance.
    """

    lags: NDArray[np.int64]
    agreement: Array
    score: Array

    def at(self, lag: int) -> float:
        """The score at a lag, -1 where the films would not overlap enough."""
        place = lag - int(self.lags[0])
        return float(self.score[place]) if 0 <= place < len(self.score) else -1.0

    def around(self, lag: int) -> Array:
        """(3,) the agreement before, at and after a lag; all alike where the films would not overlap enough."""
        place = lag - int(self.lags[0])
        return self.agreement[place - 1 : place + 2] if 0 < place < len(self.lags) - 1 else np.zeros(3)


def small_size(size: tuple[int, int], numbers: ClockNumbers = ClockNumbers()) -> tuple[int, int]:
    """Width and height of the images that are compared, for frames of `size`."""
    scale = min(1.0, numbers.width / size[0])
    return max(8, round(size[0] * scale)), max(8, round(size[1] * scale))


def fixed_camera(K: Array, world_to_camera: Array, lens: Lens, size: tuple[int, int], numbers: ClockNumbers = ClockNumbers()) -> FixedCamera:
    """The camera with intrinsics K (3, 3) for frames of `size` (width, height), pixel centres at +0.5, bent by `lens`."""
    width, height = small_size(size, numbers)
    x, y = np.meshgrid((np.arange(width) + 0.5) * size[0] / width, (np.arange(height) + 0.5) * size[1] / height)
    pixels = np.stack([x, y], -1).reshape(-1, 1, 2)
    undistort = cv2.fisheye.undistortPoints if lens.model == "fisheye" else cv2.undistortPoints
    flat = undistort(pixels, K, lens.for_opencv)
    rays = np.concatenate([flat[:, 0], np.ones((len(flat), 1))], 1) @ world_to_camera[:3, :3]
    return FixedCamera(rays.reshape(height, width, 3), -world_to_camera[:3, :3].T @ world_to_camera[:3, 3])


class RigClock:
    """The barcodes of all pairs of films on one clock of `rate` samples per second, compared."""

    def __init__(
        self, films: Sequence[Film], times: Sequence[Array], cameras: Sequence[FixedCamera], rate: float, numbers: ClockNumbers = ClockNumbers()
    ) -> None:
        self.numbers, self.count = numbers, len(films)
        moving = [_moving(film, numbers) for film in films]
        clocks = [np.arange(0.0, float(t[-1] - t[0]) + 1e-9, 1 / rate) + t[0] for t in times]
        self.codes: dict[tuple[int, int], list[tuple[Array, Array]]] = {}
        for i, j in combinations(range(self.count), 2):
            planes = _planes(cameras[i], cameras[j], numbers.planes) if self.count <= numbers.all_pairs or j - i <= numbers.apart else None
            if planes is None:
                continue
            kinds: list[list[Array]] = []
            for view, plane in zip((i, j), planes, strict=True):
                middles = (times[view], (times[view][1:] + times[view][:-1]) / 2)
                codes = [_barcode(kind, plane, numbers.planes) for kind in moving[view]]
                kinds.append([_fast(_at(m, c, clocks[view]), rate * numbers.slow) for m, c in zip(middles, codes, strict=True)])
            self.codes[i, j] = [_common(*kind) for kind in zip(*kinds, strict=True)]

    def scores(self, offsets: Array | None = None, without: tuple[float, float] | None = None) -> dict[tuple[int, int], PairScores]:
        """Scores of each pair; `without` leaves out the samples between two moments of the first film's clock, given everybody's offsets."""
        found: dict[tuple[int, int], PairScores] = {}
        for (i, j), kinds in self.codes.items():
            parts: list[PairScores] = []
            for first, second in kinds:
                a, b = first, second
                if without is not None and offsets is not None:
                    a, b = (_cut_out(code, without[0] - offsets[v], without[1] - offsets[v]) for code, v in ((first, i), (second, j)))
                parts.append(_compare(a, b, self.numbers))
            agreement, score = (np.mean([getattr(p, name) for p in parts], axis=0) for name in ("agreement", "score"))
            found[i, j] = PairScores(parts[0].lags, agreement, score)
        return found


def choose_together(scores: dict[tuple[int, int], PairScores], count: int) -> NDArray[np.int64]:
    """(V,) lags, the first 0, with the highest sum of scores over all pairs: ascent by one camera at a time from where each pair leads."""
    starts = [np.zeros(count, np.int64)]
    for (i, j), pair in scores.items():
        start = np.zeros(count, np.int64)
        start[j if j else i] = int(pair.lags[pair.score.argmax()]) * (1 if j else -1)
        starts.append(start)
    found = [_ascended(scores, start) for start in [*starts, _chained(scores, count)]]
    best = max(found, key=lambda f: f[1])[0]
    return best - best[0]


def refined(scores: dict[tuple[int, int], PairScores], lags: NDArray[np.int64]) -> Array:
    """(V,) the offsets in samples, the first 0, at the top of the sum of the parabolas through each pair's scores beside `lags`."""
    normal, right = np.zeros((len(lags), len(lags))), np.zeros(len(lags))
    for (i, j), pair in scores.items():
        left, middle, after = pair.around(int(lags[j] - lags[i]))
        bend, slope = 2 * middle - left - after, (after - left) / 2
        if bend > 0:
            right[[i, j]] += (-slope, slope)
            normal[np.ix_([i, j], [i, j])] += bend * np.array([[1, -1], [-1, 1]])
    step = np.zeros(len(lags))
    step[1:] = np.linalg.lstsq(normal[1:, 1:], right[1:], rcond=None)[0]
    return lags + np.clip(step, -0.7, 0.7)


def curve_of(scores: dict[tuple[int, int], PairScores], lags: NDArray[np.int64], view: int, reach: int) -> Array:
    """(2 reach + 1,) mean score of `view`'s pairs at each lag from -reach to reach of its own, the others staying."""
    total: Array = np.zeros(2 * reach + 1)
    pairs = 0
    for (i, j), pair in scores.items():
        if view in (i, j):
            own = np.arange(-reach, reach + 1)
            asked = own - lags[i] if view == j else lags[j] - own
            total += [pair.at(int(lag)) for lag in asked]
            pairs += 1
    return total / max(pairs, 1)


def _chained(scores: dict[tuple[int, int], PairScores], count: int) -> NDArray[np.int64]:
    """Lags from the surest chain of pairs."""
    known = {0: 0}
    while len(known) < count:
        edges = [(pair.score.max(), i, j, int(pair.lags[pair.score.argmax()])) for (i, j), pair in scores.items() if (i in known) != (j in known)]
        if not edges:
            break
        _, i, j, lag = max(edges)
        known[j if i in known else i] = known[i] + lag if i in known else known[j] - lag
    return np.array([known.get(v, 0) for v in range(count)], np.int64)


def _ascended(scores: dict[tuple[int, int], PairScores], start: NDArray[np.int64]) -> tuple[NDArray[np.int64], float]:
    lags = start.copy()
    reach = max((int(np.abs(pair.lags).max()) for pair in scores.values()), default=0)
    for _ in range(10):
        before = lags.copy()
        for view in range(len(lags)):
            curve = curve_of(scores, lags, view, reach)
            if curve.size and curve.max() > curve[np.clip(lags[view] + reach, 0, 2 * reach)] + 1e-9:
                lags[view] = int(curve.argmax()) - reach
        if (lags == before).all():
            break
    return lags, sum(pair.at(int(lags[j] - lags[i])) for (i, j), pair in scores.items())


def _moving(film: Film, numbers: ClockNumbers) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """How much each small pixel differs from the still background (N, h, w) and from the image before (N - 1, h, w), of 255."""
    chosen = np.unique(np.linspace(0, len(film) - 1, min(len(film), 60)).round().astype(int))
    still = np.median(np.stack([_smooth(film[t]) for t in chosen]), axis=0)
    differs, changes = np.zeros(film.shape, np.uint8), np.zeros((len(film) - 1, *film.shape[1:]), np.uint8)
    before = _smooth(film[0])
    for t, image in enumerate(film):
        now = _smooth(image)
        differs[t] = 255 * np.clip((np.abs(now - still) - numbers.stands) / numbers.differs, 0, 1)
        if t:
            changes[t - 1] = 255 * np.clip((np.abs(now - before) - numbers.rests) / numbers.changes, 0, 1)
        before = now
    return differs, changes


def _smooth(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.0)


def _at(times: Array, code: Array, clock: Array) -> Array:
    """(S, B) a barcode (N, B) at `times` (N,), interpolated at `clock` (S,)."""
    after = np.clip(np.searchsorted(times, clock), 1, len(times) - 1)
    share = np.clip((clock - times[after - 1]) / np.maximum(times[after] - times[after - 1], 1e-9), 0, 1)[:, None]
    return code[after - 1] * (1 - share) + code[after] * share


def _fast(code: Array, slow: float) -> Array:
    """`code` (S, B) without its slow changes: less its average over time with a Gaussian of `slow` samples."""
    return code - gaussian_filter1d(code, max(slow, 1.0), axis=0)


def _planes(first: FixedCamera, second: FixedCamera, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """For each small pixel of both cameras, the number of its half-plane about the line through the centres; None without such a line."""
    axis = second.centre - first.centre
    if np.linalg.norm(axis) < 1e-9:
        return None
    axis = axis / np.linalg.norm(axis)
    across = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    across /= np.linalg.norm(across)
    up = np.cross(axis, across)
    one, two = (np.arctan2(c.directions @ up, c.directions @ across).ravel() / (2 * np.pi) % 1 * count for c in (first, second))
    return one.astype(np.int64) % count, two.astype(np.int64) % count


def _barcode(moving: NDArray[np.uint8], plane: NDArray[np.int64], count: int) -> Array:
    """(N, planes) the most that moves in each plane, in [0, 1], NaN in planes that the camera does not see."""
    code = np.full((len(moving), count), np.nan)
    order = np.argsort(plane, kind="stable")
    begins = np.flatnonzero(np.diff(plane[order], prepend=-1))
    for t, image in enumerate(moving.reshape(len(moving), -1)):
        code[t, plane[order][begins]] = np.maximum.reduceat(image[order], begins) / 255
    return code


def _common(first: Array, second: Array) -> tuple[Array, Array]:
    """Both barcodes in the planes that both cameras see."""
    seen = np.isfinite(first[0]) & np.isfinite(second[0])
    return first[:, seen], second[:, seen]


def _cut_out(code: Array, begin: float, end: float) -> Array:
    """`code` without the samples from `begin` to `end`: each plane rests at its mean then."""
    code = code.copy()
    code[max(0, round(begin)) : max(0, round(end))] = code.mean(0)
    return code


def _compare(first: Array, second: Array, numbers: ClockNumbers) -> PairScores:
    """Correlation over time of two barcodes (S, B) and (R, B), summed over planes, each plane without its mean over the overlap."""
    shorter = min(len(first), len(second))
    least = min(shorter, max(numbers.moments, int(numbers.overlap * shorter)))
    lags = np.arange(-(len(second) - least), len(first) - least + 1)
    length = len(first) + len(second)
    both = (np.fft.rfft(first, length, axis=0) * np.conj(np.fft.rfft(second, length, axis=0))).sum(1)
    begin, end = np.maximum(lags, 0), np.minimum(lags + len(second), len(first))
    count = np.maximum(end - begin, 1)
    sums = [_between(code, *span) for code, span in ((first, (begin, end)), (second, (begin - lags, end - lags)))]
    squares = [_between(np.square(code).sum(1), *span) for code, span in ((first, (begin, end)), (second, (begin - lags, end - lags)))]
    product = np.fft.irfft(both, length)[lags % length] - (sums[0] * sums[1]).sum(1) / count
    energy = [np.maximum(square - np.square(total).sum(1) / count, 0) for square, total in zip(squares, sums, strict=True)]
    norm = np.sqrt(energy[0] * energy[1])
    agreement = np.where(norm > 1e-9, product / np.maximum(norm, 1e-9), 0.0)
    return PairScores(lags, agreement, agreement * np.sqrt(np.minimum(count / max(shorter, 1), 1.0)))


def _between(values: Array, begin: NDArray[np.int64], end: NDArray[np.int64]) -> Array:
    """(L, ...) sums of `values` (N, ...) from each `begin` to before each `end` (L,)."""
    total = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
    return total[end] - total[begin]


def parts_of(length: int, count: int) -> Iterator[tuple[float, float]]:
    """`count` equal parts of `length` samples."""
    edges = np.linspace(0, length, count + 1)
    yield from zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
