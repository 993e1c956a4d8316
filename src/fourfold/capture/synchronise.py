"""When free-running videos of one scene began: cross-correlation of how much moves, of what is heard, or of calibrated cameras' barcodes.

Two cameras see different pixels but the same bursts and pauses: the mean absolute difference of consecutive frames rises and falls together.
Of cameras whose places are known much more is known: `epipolar_clock`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.epipolar_clock import (
    ClockNumbers,
    FixedCamera,
    RigClock,
    choose_together,
    curve_of,
    parts_of,
    refined,
)
from fourfold.capture.film import Film
from fourfold.capture.source import Synchronise
from fourfold.errors import FourfoldError
from fourfold.notices import fallback

GREY_SIZE = (96, 54)  # pixels; motion energy needs no more
AUDIO_RATE = 8000  # samples per second
AUDIO_STEP = 40  # samples per value of the loudness curve, 5 ms
SLOW = 2.0  # seconds; slower changes (light, zoom) are taken out before comparing
MIN_OVERLAP = 0.25  # of the shorter recording
RIVAL_BEYOND = 0.25  # seconds from the best offset; a peak farther away is a rival
SURELY = 3.0  # error bars by which calibrated videos must differ from beginning together
UNSURE = 0.25  # confidence under which a notice is given

Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Offset:
    """When one video began.

    Attributes:
        seconds: after the reference began; negative if before.
        correlation: of the two curves at this offset, -1..1.
        confidence: how clearly it beats the best rival offset, 0..1: the difference of their correlations (periodic motion gives about 0, a clear
            event 0.3 and more), or of calibrated cameras, whose correlations are small, that difference as a share of the correlation. 0 where
            two curves that have nothing to do with each other correlate as well somewhere (`chance_level`).
        error: standard deviation in seconds, from leaving out each fifth of the recording (jackknife); NaN where it was not told.
        rival: the best offset farther away than `RIVAL_BEYOND`, seconds; NaN where there is none.
    """

    seconds: float
    correlation: float
    confidence: float
    error: float = float("nan")
    rival: float = float("nan")


def estimate_offsets(videos: Sequence[Film], how: Literal["motion", "audio"] = "motion") -> list[Offset]:
    """For each video when it began after the first one, from the most confident chain of pairs.

    Args:
        videos: two or more.
        how: "motion" or "audio".

    Raises:
        FourfoldError: "audio" was asked for and a video has no sound, or a video is too short to compare.
    """
    curves, rate = (audio_curves(videos), AUDIO_RATE / AUDIO_STEP) if how == "audio" else motion_curves(videos)
    found = {(i, j): align(curves[i], curves[j], rate) for i in range(len(curves)) for j in range(i + 1, len(curves))}
    offsets: dict[int, Offset] = {0: Offset(0.0, 1.0, 1.0)}
    while len(offsets) < len(videos):
        edges = [(pair, o) for pair, o in found.items() if (pair[0] in offsets) != (pair[1] in offsets)]
        (i, j), best = max(edges, key=lambda edge: edge[1].confidence)
        known, new, sign = (i, j, 1.0) if i in offsets else (j, i, -1.0)
        chain = min(best.confidence, offsets[known].confidence)
        error = float(np.hypot(best.error, np.nan_to_num(offsets[known].error)))
        rival = offsets[known].seconds + sign * best.rival
        offsets[new] = Offset(offsets[known].seconds + sign * best.seconds, best.correlation, chain, error, rival)
    return [offsets[number] for number in range(len(videos))]


def find_offsets(videos: Sequence[Film], how: Synchronise, rig: Sequence[FixedCamera] = ()) -> tuple[list[Offset], str]:
    """When each video began after the first one, and how that is known, in words.

    With "auto" sound is asked first, where all have it, then motion; the first that is sure serves, and if neither is, the videos are
    taken to begin together, which is said. What is asked for by name is used even if it is uncertain, which is said too. The videos of a
    calibrated `rig` should have begun together: with "auto" only what surely says otherwise is used.
    """
    if rig and how == "auto":
        return _checked_rig(videos, rig)
    if how != "auto":
        found = epipolar_offsets(videos, rig) if rig and how == "motion" else estimate_offsets(videos, "audio" if how == "audio" else "motion")
        for video, offset in zip(videos, found, strict=True):
            if offset.confidence < UNSURE:
                fallback(f"the time offset of {video.path.name} ({offset.seconds:+.3f} s, from {how}) is uncertain: give --offsets if it is known")
        return found, f"estimated from {how}"
    tried: list[str] = []
    for way in ("audio", "motion"):
        try:
            found = estimate_offsets(videos, way)
        except FourfoldError:  # no sound, or too short: the next way is asked
            continue
        worst = min(o.confidence for o in found)
        if worst >= UNSURE:
            return found, f"estimated from {way}"
        tried.append(f"{way} with confidence {worst:.2f}")
    said = f" ({', '.join(tried)})" if tried else ""
    fallback(f"when the {len(videos)} videos began could not be told{said}: they are taken to begin together, give --offsets if they do not")
    return [Offset(0.0, 0.0, 0.0)] * len(videos), "assumed to begin together"


def _checked_rig(videos: Sequence[Film], rig: Sequence[FixedCamera]) -> tuple[list[Offset], str]:
    """Offsets of calibrated cameras where what moves surely says that they did not begin together."""
    together = [Offset(0.0, 0.0, 0.0)] * len(videos), "assumed to begin together"
    try:
        found = epipolar_offsets(videos, rig)
    except FourfoldError:  # too short to tell
        return together
    frame = 1 / max(v.fps for v in videos)
    apart = any(abs(o.seconds) > max(frame / 2, SURELY * o.error) for o in found)
    if not apart or min(o.confidence for o in found) < UNSURE:
        return together
    fallback(f"the {len(videos)} calibrated cameras did not begin together: what moves is seen at different times, which is made up for")
    return found, "estimated from motion before calibrated cameras"


def align(first: Curve, second: Curve, rate: float) -> Offset:
    """When `second` began after `first`: the lag of the highest normalised cross-correlation, refined below one sample by a parabola.

    Args:
        first, second: (N,) and (M,) curves of zero mean at `rate` values per second.
    """
    shortest = max(8, int(MIN_OVERLAP * min(len(first), len(second))))
    if min(len(first), len(second)) < 8:
        raise FourfoldError("a video is too short to be synchronised: give the time offsets instead")
    lags = np.arange(-(len(second) - shortest), len(first) - shortest + 1)
    # Entry l of the full correlation is sum_n first[n + lag] second[n] with lag = l - (M - 1).
    full = np.correlate(first, second, mode="full")[lags + len(second) - 1]
    energy_first, energy_second = np.concatenate([[0], np.cumsum(first**2)]), np.concatenate([[0], np.cumsum(second**2)])
    begin, end = np.maximum(lags, 0), np.minimum(lags + len(second), len(first))
    norm = np.sqrt((energy_first[end] - energy_first[begin]) * (energy_second[end - lags] - energy_second[begin - lags]))
    overlap = (end - begin) / min(len(first), len(second))
    # A short overlap correlates by chance: shrink by the share of the recording that speaks for it.
    score = np.where(norm > 1e-12, full / np.maximum(norm, 1e-12), 0.0) * np.sqrt(np.minimum(overlap, 1.0))
    best = int(score.argmax())
    rivals = score[np.abs(lags - lags[best]) > RIVAL_BEYOND * rate]
    sure = float(score[best]) > chance_level(first, second, int(end[best] - begin[best]), len(lags))
    confidence = float(score[best] - max(float(rivals.max()) if rivals.size else 0.0, 0.0)) if sure else 0.0
    far = lags[np.abs(lags - lags[best]) > RIVAL_BEYOND * rate]
    rival = float(far[rivals.argmax()] / rate) if rivals.size else float("nan")
    error = _left_out(first, second, int(lags[best])) / rate
    return Offset(float((lags[best] + _vertex(score, best)) / rate), float(score[best]), float(np.clip(confidence, 0.0, 1.0)), error, rival)


def chance_level(first: Curve, second: Curve, moments: int, lags: int) -> float:
    """The correlation that the best of many lags of two unrelated curves reaches by chance, usually.

    Neighbouring values resemble each other, so that `moments` of them are worth only n independent ones (Bartlett 1935): a correlation is known to
    1 / sqrt(n), and of the `lags` compared only the same share is independent. The largest of m normal deviates is about sqrt(2 ln m).
    """
    one, two = (np.correlate(c, c, mode="full")[len(c) - 1 :] / max(float(c @ c), 1e-12) for c in (first, second))
    reach = min(len(one), len(two), moments // 2 + 1)
    worth = 1 / max(1.0 + 2.0 * float(one[1:reach] @ two[1:reach]), 1.0)
    return float(np.sqrt(2 * np.log(max(lags * worth, 2.0)) / max(moments * worth, 1.0)))


def _left_out(first: Curve, second: Curve, lag: int, parts: int = 5, reach: int = 3) -> float:
    """Jackknife deviation, samples, of the best lag within `reach` of `lag` when each of `parts` parts of the overlap is left out."""
    begin, end = max(0, lag), min(len(first), len(second) + lag)
    found: list[float] = []
    for edge in parts_of(end - begin, parts):
        keep = np.ones(end - begin, bool)
        keep[round(edge[0]) : round(edge[1])] = False
        score = np.array([_overlap_score(first, second, lag + step, begin, keep) for step in range(-reach, reach + 1)])
        found.append(int(score.argmax()) - reach + _vertex(score, int(score.argmax())))
    return _jackknife(np.array(found))


def _overlap_score(first: Curve, second: Curve, lag: int, begin: int, keep: NDArray[np.bool_]) -> float:
    """Correlation at a lag of the moments to `keep` (n,) of `first` from `begin` on."""
    moments = np.flatnonzero(keep) + begin
    moments = moments[(moments - lag >= 0) & (moments - lag < len(second))]
    one, two = first[moments], second[moments - lag]
    norm = float(np.sqrt((one @ one) * (two @ two)))
    return float(one @ two) / norm if norm > 1e-12 else 0.0


def _jackknife(found: Curve) -> float:
    """Standard deviation of an estimate from those without each of n parts of the data (Efron and Stein 1981)."""
    return float(np.sqrt((len(found) - 1) / len(found) * np.square(found - found.mean()).sum()))


def epipolar_offsets(videos: Sequence[Film], rig: Sequence[FixedCamera], numbers: ClockNumbers = ClockNumbers()) -> list[Offset]:
    """For each video when it began after the first one, from where the standing cameras of `rig` see motion, all chosen together.

    Raises:
        FourfoldError: a video is too short to compare.
    """
    if any(len(v) < numbers.moments for v in videos):
        short = next(v for v in videos if len(v) < numbers.moments)
        raise FourfoldError(f"{short.path} has {len(short)} frames: too few to synchronise by what moves")
    rate = max(v.fps for v in videos)
    films, times = [], []
    for video, camera in zip(videos, rig, strict=True):
        height, width = camera.directions.shape[:2]
        clock = np.asarray(video.times, np.float64)
        clock = clock[clock <= clock[0] + numbers.longest]
        films.append(np.stack([grey for grey, _ in zip(video.small_grey((width, height)), clock, strict=False)]))
        times.append(clock[: len(films[-1])])
    found = RigClock(films, times, rig, rate, numbers)
    scores = found.scores()
    lags = choose_together(scores, len(videos))
    samples = refined(scores, lags)
    length = int((times[0][-1] - times[0][0]) * rate)
    without = np.stack([refined(found.scores(samples, part), lags) for part in parts_of(length, numbers.parts)])
    reach = max(int(np.abs(pair.lags).max()) for pair in scores.values()) if scores else 0
    offsets = [Offset(0.0, 1.0, 1.0, 0.0)]
    for view in range(1, len(videos)):
        curve, own = curve_of(scores, lags, view, reach), np.arange(-reach, reach + 1)
        far = np.abs(own - lags[view]) > RIVAL_BEYOND * rate
        best, rival = float(curve[lags[view] + reach]), float(curve[far].max()) if far.any() else 0.0
        begun = float(times[0][0] - times[view][0])
        other = float(own[far][curve[far].argmax()] / rate) + begun if far.any() else float("nan")
        error = float(np.hypot(_jackknife(without[:, view]), numbers.between)) / rate
        clear = float(np.clip((best - max(rival, 0.0)) / max(best, 1e-9), 0, 1))
        offsets.append(Offset(float(samples[view] / rate) + begun, best, clear, error, other))
    return offsets


def motion_curves(videos: Sequence[Film]) -> tuple[list[Curve], float]:
    """Motion energy of each video at one common rate (twice the highest frame rate), and that rate."""
    if any(len(v) < 3 for v in videos):
        short = next(v for v in videos if len(v) < 3)
        raise FourfoldError(f"{short.path} has {len(short)} frames: too few to synchronise by motion")
    rate = 2.0 * max(v.fps for v in videos)
    return [_level(_resampled(v.times, _motion(v), rate), rate) for v in videos], rate


def audio_curves(videos: Sequence[Film]) -> list[Curve]:
    """Rises of loudness of each video's sound at `AUDIO_RATE / AUDIO_STEP` values per second, from the moment of its first frame on."""
    curves = []
    for video in videos:
        if not video.has_audio:
            raise FourfoldError(f"{video.path} has no sound: synchronise by motion or give the time offsets")
        samples = video.sound(AUDIO_RATE)
        blocks = samples[: len(samples) // AUDIO_STEP * AUDIO_STEP].reshape(-1, AUDIO_STEP)
        loudness = np.log(np.sqrt((blocks**2).mean(axis=1)) + 1e-3)
        curves.append(_level(np.maximum(np.diff(loudness, prepend=loudness[:1]), 0.0), AUDIO_RATE / AUDIO_STEP))
    return curves


def _motion(video: Film) -> Curve:
    """(N - 1,) log mean absolute difference of consecutive small grey frames per second."""
    before, energy = None, []
    for grey in video.small_grey(GREY_SIZE):
        small = cv2.GaussianBlur(grey, (0, 0), 1.0).astype(np.float32)
        if before is not None:
            energy.append(float(np.abs(small - before).mean()))
        before = small
    gaps = np.maximum(np.diff(video.times[: len(energy) + 1]), 1e-6)
    return np.log(np.array(energy) / gaps * float(np.median(gaps)) + 0.05)


def _resampled(times: Curve, values: Curve, rate: float) -> Curve:
    middles = (times[:-1] + times[1:])[: len(values)] / 2
    return np.interp(np.arange(0.0, float(times[-1]), 1.0 / rate), middles, values)


def _level(values: Curve, rate: float) -> Curve:
    """`values` without its slow changes."""
    width = int(SLOW * rate) | 1
    if len(values) <= width:
        return values - values.mean()
    padded = np.pad(values, width // 2, mode="reflect")
    total = np.concatenate([[0.0], np.cumsum(padded)])
    return values - (total[width:] - total[:-width]) / width


def _vertex(score: Curve, best: int) -> float:
    """Where the parabola through the best value and its neighbours peaks, -0.5..0.5 samples from it."""
    if not 0 < best < len(score) - 1:
        return 0.0
    left, middle, right = score[best - 1 : best + 2]
    curvature = left - 2 * middle + right
    return float(np.clip(0.5 * (left - right) / curvature, -0.5, 0.5)) if curvature < 0 else 0.0
