"""A few moments of a film or a list of images, as short bursts of frames, without decoding the rest and of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.frames import FrameFiles, FrameList
from fourfold.capture.video import VideoFile
from fourfold.capture.video_index import open_container

BURSTS = 6  # moments that are looked at
APART = 5  # frames between the first and the last of a burst
MOST_PIXELS = 1 << 21  # of a picture that is kept; larger ones are reduced, so that all bursts together stay below 80 MB
Burst = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def bursts(frames: FrameList) -> list[Burst]:
    """Pairs of RGB frames (H, W, 3), `APART` frames apart, evenly over the recording; none where it is damaged.

    Frames of more than `MOST_PIXELS` are reduced by a whole factor.
    """
    if isinstance(frames, VideoFile):
        return list(_of_film(frames))
    if not isinstance(frames, FrameFiles) or len(frames) < 2:
        return []
    paths = [p for p in frames.paths if p is not None]
    gap = min(APART, max(1, len(paths) // 4))
    begins = np.unique(np.linspace(0, max(len(paths) - 1 - gap, 0), BURSTS).round().astype(int))
    pairs = [tuple(_kept(frames.load(paths[n])) for n in (b, min(b + gap, len(paths) - 1))) for b in begins]
    return [(a, b) for a, b in pairs if a.shape == b.shape]


def _kept(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The colours of a frame, reduced if it is large."""
    height, width = image.shape[:2]
    by = int(np.ceil(np.sqrt(height * width / MOST_PIXELS)))
    colours = np.ascontiguousarray(image[..., :3])
    return cv2.resize(colours, (width // by, height // by), interpolation=cv2.INTER_AREA).astype(np.uint8) if by > 1 else colours


def _of_film(video: VideoFile) -> Iterator[Burst]:
    """From the pictures that can be decoded alone, nearest before evenly spread moments; of a film with few of them, from all its beginning."""
    import av.error

    seen: set[int] = set()
    with open_container(video.path) as container:
        stream = container.streams[video.stream]
        stream.thread_type = "AUTO"
        base = float(stream.time_base or 1 / 90000)
        for moment in np.linspace(0.0, float(video.times[-1]), BURSTS + 1)[:-1]:
            try:
                container.seek(int((video.begins + moment) / base), stream=stream, backward=True)
                first = last = None
                for frame in islice(container.decode(stream), 1 + APART):
                    first, last = first or frame, frame
            except av.error.FFmpegError:
                return
            if first is not None and last is not first and first.pts not in seen:
                seen.add(int(first.pts or 0))
                yield _kept(video.upright(first)), _kept(video.upright(last))
    if 0 < len(seen) < BURSTS // 2:
        yield from _sequence(video)


def _sequence(video: VideoFile) -> Iterator[Burst]:
    """Of a film whose pictures all hang on its first few: bursts over its first frames, read one after the other."""
    last = min(len(video), 2 * BURSTS * APART) - 1 - APART
    begins = np.unique(np.linspace(APART, max(last, APART), BURSTS).round().astype(int))
    begins = [int(b) for b in begins if b + APART < len(video)]
    wanted = sorted({n for b in begins for n in (b, b + APART)})
    images = {n: _kept(image) for n, image in zip(wanted, video.decode(wanted), strict=False)}
    yield from ((images[b], images[b + APART]) for b in begins if b in images and b + APART in images)
