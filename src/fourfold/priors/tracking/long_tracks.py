"""Long image tracks before anything is known: corners in every empty cell of every frame, followed from frame to frame and checked backwards.

Pyramidal Lucas-Kanade (Bouguet 2001) on images of one size whatever the quality finds a point in the next frame, the patch where its track
began (`track_anchor`) says where exactly; source: spec front_end.md 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.chunks import is_long
from fourfold.counting import counted
from fourfold.interruption import temporary_folder
from fourfold.priors.contracts import FilmTracks, LongTracks, Priors, Provenance
from fourfold.priors.providers import Provider
from fourfold.priors.tracking.long_track_links import Followed, LinkConfig, drifted, seen_again
from fourfold.priors.tracking.track_anchor import AnchorConfig, anchor, settle, smooth

Grey = NDArray[np.uint8]
Points = NDArray[np.float32]
"""(N, 2) pixels; inside this file pixel centres are whole numbers, as OpenCV has them."""

LOOKED_AT = 100  # images of a long film whose memory is given back at once
BESIDE_INVALID = 3  # pixels of the stored images: the edge of a bar or of a text is none of the scene


@dataclass(frozen=True)
class LongTrackConfig:
    """Numbers of the long tracks. Pixels are those of the tracking images.

    Attributes:
        long_side: longer side of the images in which points are followed, pixels; smaller images are enlarged.
        cell: side of the square cells of which each gets a new corner while it holds no track, pixels.
        corner: share of a frame's strong corners (99th percentile of the smaller eigenvalue) below which a cell stays empty.
        block: side of the neighbourhood of that eigenvalue, pixels.
        window: side of the Lucas-Kanade window, pixels.
        levels: pyramid levels above the image; 4 reaches some 60 px between frames.
        iterations, step: Lucas-Kanade stops after this many iterations or at a step below this many pixels.
        flattest: smaller eigenvalue of a window, per pixel, below which it is not followed.
        back_error: forward-backward error beyond which a track ends, pixels.
        border: pixels along the edge of the image where no track starts; one that comes within half of it ends.
        anchor: comparing with the patch where a track began.
        links: finding points again that were hidden.
    """

    long_side: int = 640
    cell: int = 10
    corner: float = 0.002
    block: int = 5
    window: int = 15
    levels: int = 4
    iterations: int = 20
    step: float = 0.02
    flattest: float = 1e-4
    back_error: float = 0.7
    border: int = 6
    anchor: AnchorConfig = field(default_factory=AnchorConfig)
    links: LinkConfig = field(default_factory=LinkConfig)


def long_tracks(capture: Capture, config: LongTrackConfig = LongTrackConfig()) -> LongTracks:
    """Follow whatever can be followed through the present frames of every view; a held-out view whose cameras are known is left alone.

    A corner that could not be followed into the next frame is a track of one observation.
    """
    parts: list[tuple[NDArray[np.int32], NDArray[np.int32], Points]] = []
    views: list[NDArray[np.int32]] = []
    first = 0
    for view in range(capture.views):
        known = np.isfinite(capture.world_to_camera[view]).all() and not capture.train[view].any()
        times = np.flatnonzero(capture.present[view] & (not known))
        frames = counted(tracking_frames(capture, view, times, config.long_side), f"view {view + 1}" if capture.views > 1 else "", len(times))
        track, step, xy = follow(frames, config)
        time, xy = times[step].astype(np.int32), _to_stored(xy, capture, view, config.long_side)
        seen = _on_valid_pixels(capture, view, time, xy)
        kept, track = np.unique(track[seen], return_inverse=True)
        count = len(kept)
        parts.append(((track + first).astype(np.int32), time[seen], xy[seen]))
        views.append(np.full(count, view, np.int32))
        first += count
    track, time, xy = (np.concatenate([p[i] for p in parts]) for i in range(3))
    length = np.bincount(track, minlength=1)
    figures = {"tracks": first, "median_length": float(np.median(length)), "longest_tenth": float(np.percentile(length, 90))}
    return LongTracks(Provenance("long_tracks", figures=figures), xy, time, track.astype(np.int32), np.concatenate(views))


def _on_valid_pixels(capture: Capture, view: int, time: NDArray[np.int32], xy: Points) -> NDArray[np.bool_]:
    """(M,) whether observations lie on the scene: not on, or within `BESIDE_INVALID` pixels of, what the capture says is to be ignored."""
    good = np.ones(len(xy), bool)
    if capture.facts.get("alpha_means") != "valid" or not capture.has("alpha", view):
        return good
    kernel = np.ones((2 * BESIDE_INVALID + 1, 2 * BESIDE_INVALID + 1), np.uint8)
    for moment in np.unique(time):
        alpha = capture.alpha(view, int(moment))
        if alpha is None or bool((np.asarray(alpha) >= 128).all()):
            continue
        valid = cv2.erode((np.asarray(alpha) >= 128).astype(np.uint8), kernel, borderValue=1)
        here = np.flatnonzero(time == moment)
        column, row = (np.clip(xy[here, axis].astype(np.intp), 0, valid.shape[1 - axis] - 1) for axis in (0, 1))
        good[here] = valid[row, column] > 0
    return good


def tracking_frames(capture: Capture, view: int, times: NDArray[np.intp], long_side: int) -> Iterator[Grey]:
    """The grey images of `view` at `times`, one after the other, brought to `tracking_size`: of the finest images that are kept."""
    size = tracking_size(capture, view, long_side)
    for time in times:
        kept = capture.grey(view, int(time))
        grey = np.array(kept) if kept is not None else cv2.cvtColor(np.array(capture.image(view, int(time))), cv2.COLOR_RGB2GRAY)
        way = cv2.INTER_AREA if size[0] <= grey.shape[1] else cv2.INTER_CUBIC
        yield cv2.resize(grey, size, interpolation=way).astype(np.uint8)


def tracking_size(capture: Capture, view: int, long_side: int) -> tuple[int, int]:
    """Width and height, the longer `long_side`, of the images in which the points of `view` are followed."""
    size = capture.sizes[view]
    width, height = (max(1, round(float(n) * long_side / float(size.max()))) for n in size)
    return width, height


def _to_stored(xy: Points, capture: Capture, view: int, long_side: int) -> Points:
    """Pixels of the stored images, pixel centres at +0.5, of points in tracking images."""
    return ((xy + 0.5) * (capture.sizes[view] / np.array(tracking_size(capture, view, long_side)))).astype(np.float32)


def follow(frames: Iterator[Grey], config: LongTrackConfig) -> tuple[NDArray[np.int32], NDArray[np.int32], Points]:
    """Tracks through images of one size.

    Returns:
        (M,) number of the track, not decreasing, (M,) number of the frame, increasing within a track, (M, 2) pixels: of all observations.
    """
    parts = [(live.track, live.last, live.xy) for live in followed(frames, config)]
    none = np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros((0, 2), np.float32)
    track, moment, place = (np.concatenate([p[i] for p in (none, *parts)]) for i in range(3))
    order = np.argsort(track, kind="stable")
    return track[order], moment[order], place[order]


def followed(frames: Iterator[Grey], config: LongTrackConfig) -> Iterator[Followed]:
    """The tracks that each of the images shows, one image after the other."""
    none = np.zeros((0, 2), np.float32)
    live = lost = Followed.begun(np.zeros(0, np.int32), 0, none, anchor(np.zeros((1, 1), np.float32), none, config.anchor))
    count, before = 0, np.zeros((0, 0), np.uint8)
    images: dict[int, NDArray[np.float32]] = {}
    for step, frame in enumerate(frames):
        found: list[Followed] = []
        images[step] = smooth(frame, config.anchor)
        images.pop(step - config.links.gap - 1, None)
        if step > 0:
            xy, good = _moved(before, frame, live.xy, config)
            good = np.flatnonzero(good)
            xy, shape, there = settle(images[step], xy[good], live.anchors, good, config.anchor)
            gone = np.setdiff1d(np.arange(len(live.track)), good[there])
            lost = lost.joined(live.rows(gone[live.count[gone] >= config.links.least]))
            live = live.rows(good[there])
            live = live.moved(step, xy[there], replace(live.anchors, shape=shape[there]))
            lost = drifted(lost.rows(step - lost.last <= config.links.gap), live, config.links)
            back, again = seen_again(images, step, lost, config.anchor, config.links)
            found, lost = [again.rows(back)], lost.rows(~back)
        new = _corners(frame, np.concatenate([part.xy for part in (live, *found)]), config)
        started = np.arange(count, count + len(new), dtype=np.int32)
        live = live.joined(*found, Followed.begun(started, step, new, anchor(images[step], new, config.anchor)))
        count, before = count + len(new), frame
        yield live


def _moved(before: Grey, after: Grey, xy: Points, config: LongTrackConfig) -> tuple[Points, NDArray[np.bool_]]:
    """Where points (N, 2) of one frame are in the next, and whether they are found there again and lead back."""
    if not len(xy):
        return xy, np.zeros(0, bool)
    numbers = {
        "winSize": (config.window, config.window),
        "maxLevel": config.levels,
        "criteria": (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, config.iterations, config.step),
        "minEigThreshold": config.flattest,
    }
    found, there, _ = cv2.calcOpticalFlowPyrLK(before, after, xy, np.empty(0), **numbers)
    back, here, _ = cv2.calcOpticalFlowPyrLK(after, before, found, np.empty(0), **numbers)
    height, width = after.shape
    edge = config.border / 2
    inside = (found >= edge - 1).all(axis=1) & (found[:, 0] <= width - edge) & (found[:, 1] <= height - edge)
    closed = np.linalg.norm(back - xy, axis=1) < config.back_error
    return found.astype(np.float32), (there[:, 0] > 0) & (here[:, 0] > 0) & inside & closed


def _corners(frame: Grey, xy: Points, config: LongTrackConfig) -> Points:
    """The best corner of each cell that holds none of the points (N, 2) and shows enough."""
    height, width = frame.shape
    cell, border = config.cell, config.border
    rows, columns = -(-height // cell), -(-width // cell)
    strength = cv2.cornerMinEigenVal(frame, config.block)
    least = config.corner * np.percentile(strength, 99)
    padded = np.full((rows * cell, columns * cell), -1, np.float32)
    padded[border : height - border, border : width - border] = strength[border : height - border, border : width - border]
    blocks = padded.reshape(rows, cell, columns, cell).swapaxes(1, 2).reshape(rows, columns, cell * cell)
    empty = np.ones((rows, columns), bool)
    held = (xy / cell).astype(np.intp)
    empty[held[:, 1], held[:, 0]] = False
    row, column = np.nonzero(empty & (blocks.max(axis=2) > least))
    best = blocks[row, column].argmax(axis=1)
    return np.stack([column * cell + best % cell, row * cell + best // cell], axis=1).astype(np.float32)


def _cannot(capture: Capture) -> str | None:
    return None if capture.present.sum(axis=1).max() >= 2 else "no view has two frames"


def _of_long_film(capture: Capture) -> str | None:
    return None if capture.views == 1 and is_long(capture) else ""


def film_tracks(capture: Capture, config: LongTrackConfig = LongTrackConfig()) -> FilmTracks:
    """The same for a film of one view, whose tracks are never all in memory."""
    times = np.flatnonzero(capture.present[0])
    count = np.zeros(capture.times + 1, np.int64)
    tracks = 0
    with temporary_folder("tracks") as folder:
        with (folder / "xy").open("wb") as places, (folder / "track").open("wb") as numbers:
            frames = counted(tracking_frames(capture, 0, times, config.long_side), total=len(times))
            for time, live in zip(times, followed(frames, config), strict=True):
                xy = _to_stored(live.xy, capture, 0, config.long_side)
                seen = _on_valid_pixels(capture, 0, np.full(len(xy), time, np.int32), xy)
                places.write(xy[seen].tobytes())
                numbers.write(live.track[seen].astype(np.int32).tobytes())
                count[time + 1] = seen.sum()
                if time % LOOKED_AT == 0:
                    capture.release()
                tracks = max(tracks, int(live.track.max(initial=-1)) + 1)
        first = np.cumsum(count)
        figures = {"tracks": tracks, "observations": int(first[-1])}
        # mapped files outlive their names: they are gone once the prior is
        xy, track = _mapped(folder / "xy", np.float32, (int(first[-1]), 2)), _mapped(folder / "track", np.int32, (int(first[-1]),))
        return FilmTracks(Provenance("long_film_tracks", figures=figures), xy, track, first)


def _mapped(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    return np.memmap(path, dtype, "r", shape=shape) if shape[0] else np.zeros(shape, dtype)


def _make(capture: Capture, _: Priors) -> list[LongTracks]:
    return [long_tracks(capture)]


PROVIDERS = (
    Provider("long_tracks", ("longtracks",), (), 10, _cannot, _make, version=4),
    Provider("long_film_tracks", ("filmtracks",), (), 10, _of_long_film, lambda capture, _: [film_tracks(capture)]),
)
