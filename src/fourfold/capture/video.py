"""Videos through PyAV: true timestamps, rotation flag, odd pixel formats, one sequential decode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".flv", ".ogv", ".3gp", ".gif"})

LIMITED, FULL = 1, 2  # FFmpeg's AVCOL_RANGE_MPEG and AVCOL_RANGE_JPEG
INDEXED = ("mp4", "mov", "matroska", "webm")  # containers whose packets tell when each picture is shown
FULL_RANGE_FORMATS = ("gray", "ya", "yuvj", "rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal", "mono")


@dataclass(frozen=True)
class VideoFile:
    """A video's frames in order of presentation, upright and with square pixels.

    Attributes:
        path: the file.
        size: upright width and height, pixels.
        quarter_turns: how often a decoded frame is turned counter-clockwise by 90 degrees to stand upright.
        stretch: width of a pixel over its height, before turning.
        times: (N,) float64 seconds of each frame, increasing, the first is 0.
        begins: seconds on the file's own clock of the first frame.
        has_audio: whether there is sound.
        pixel_format: as stored.
    """

    path: Path
    size: tuple[int, int]
    quarter_turns: int
    stretch: float
    times: NDArray[np.float64]
    begins: float
    has_audio: bool
    pixel_format: str

    def __len__(self) -> int:
        return len(self.times)

    @property
    def fps(self) -> float:
        """Mean frames per second; 0 for a single frame."""
        return (len(self.times) - 1) / float(self.times[-1]) if len(self.times) > 1 else 0.0

    @property
    def variable_rate(self) -> bool:
        """Whether the gaps between frames differ by more than a tenth of the usual gap."""
        gaps = np.diff(self.times)
        return bool(len(gaps) and np.abs(gaps - np.median(gaps)).max() > 0.1 * np.median(gaps))

    def decode(self, indices: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """The frames `indices` (increasing) as uint8 (H, W, 3) RGB, in one pass over the file.

        FourfoldError if the file ends or breaks before the last of them.
        """
        wanted = iter(indices)
        target, read = next(wanted, None), 0
        for frame in self._raw():
            if target is None:
                return
            if read == target:
                yield self._upright(frame)
                target = next(wanted, None)
            read += 1
        if target is not None:
            raise FourfoldError(f"{self.path} breaks off: {read} of its {len(self)} frames can be read; copy the file again or cut it to length")

    def small_grey(self, size: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
        """Every frame, not turned, as uint8 (h, w) grey of `size` (width, height), in one pass over the file."""
        for frame in self._raw():
            yield np.ascontiguousarray(frame.to_ndarray(format="gray", width=size[0], height=size[1], interpolation="AREA"))

    def sound(self, rate: int) -> NDArray[np.float64]:
        """(S,) mono samples in -1..1 at `rate` per second; the first is at the moment of the first frame."""
        import av
        import av.error

        parts: list[NDArray[np.float64]] = []
        start: float | None = None
        with _open(self.path) as container:
            resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
            try:
                for frame in container.decode(container.streams.audio[0]):
                    start = float(frame.pts * frame.time_base) if start is None and frame.pts is not None else start
                    parts += [np.ravel(piece.to_ndarray()).astype(np.float64) for piece in resampler.resample(frame)]
            except av.error.FFmpegError as error:
                raise FourfoldError(f"{self.path} has sound that cannot be decoded: synchronise by motion or give the time offsets") from error
        samples = np.concatenate(parts) if parts else np.zeros(0)
        lead = round(((start or 0.0) - self.begins) * rate)
        return np.concatenate([np.zeros(lead), samples]) if lead > 0 else samples[-lead:]

    def _raw(self) -> Iterator[Any]:
        import av.error

        with _open(self.path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            read = 0
            try:
                for frame in container.decode(stream):
                    yield frame
                    read += 1
            except av.error.FFmpegError as error:
                raise FourfoldError(
                    f"{self.path} is damaged: {read} of its {len(self)} frames can be read; copy the file again or cut it to length"
                ) from error

    def _upright(self, frame: Any) -> NDArray[np.uint8]:
        width = round(frame.width * self.stretch)
        # Without a range in the file, grey and RGB pictures use all levels and YUV ones 16 to 235, as FFmpeg itself assumes.
        full = frame.color_range == FULL or (frame.color_range != LIMITED and frame.format.name.startswith(FULL_RANGE_FORMATS))
        image = frame.to_ndarray(format="rgb24", width=width, height=frame.height, src_color_range=FULL if full else LIMITED, dst_color_range=FULL)
        image = np.ascontiguousarray(np.rot90(image, self.quarter_turns))
        if (image.shape[1], image.shape[0]) != self.size:
            got = f"{image.shape[1]}x{image.shape[0]}"
            raise FourfoldError(f"{self.path} changes size from {self.size[0]}x{self.size[1]} to {got} on the way: cut it where it changes")
        return image


def open_video(path: Path) -> VideoFile:
    """What a video file holds, from its index and its first frame; nothing else is decoded.

    FourfoldError if it is not a video, or if it breaks off before the end that its header promises.
    """
    import av.error

    with _open(path) as container:
        stream = container.streams.video[0]
        try:
            first = next(container.decode(stream), None)
        except av.error.FFmpegError as error:
            raise FourfoldError(f"{path} has no frame that can be decoded ({error.strerror}): convert it to MP4 (H.264) first") from error
        if first is None:
            raise FourfoldError(f"{path} has no frame that can be decoded: convert it to MP4 (H.264) first")
        turns = round(float(getattr(first, "rotation", 0)) / 90.0) % 4
        aspect = stream.sample_aspect_ratio
        stretch = float(aspect) if aspect else 1.0
        width, height = round(first.width * stretch), first.height
        pixel_format, has_audio = first.format.name, bool(container.streams.audio)
    size = (height, width) if turns % 2 else (width, height)
    times = _times(path)
    return VideoFile(path, size, turns, stretch, times - times[0], float(times[0]), has_audio, pixel_format)


def is_video(path: Path) -> bool:
    """Whether the name is a video's."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _times(path: Path) -> NDArray[np.float64]:
    """(N,) seconds, on the file's clock, of the frames that will be shown, from the packets alone where they say it, else by decoding once."""
    import av.error

    shown, whole = [], 0
    with _open(path) as container:
        stream = container.streams.video[0]
        known = any(name in INDEXED for name in container.format.name.split(","))
        promised, base = stream.frames, float(stream.time_base or 1 / 90000)
        try:
            for packet in container.demux(stream):
                if packet.size == 0:
                    continue
                whole += not packet.is_corrupt
                if packet.is_discard or packet.is_corrupt:
                    continue
                # A file cut without re-encoding may begin with pictures that cannot be decoded.
                known = known and packet.pts is not None and (bool(shown) or packet.is_keyframe)
                shown.append(packet.pts)
        except av.error.FFmpegError as error:
            raise FourfoldError(f"{path} is damaged after {whole} frames ({error.strerror}): copy the file again or cut it to length") from error
    if promised and whole < promised:
        raise FourfoldError(f"{path} breaks off: {whole} of its {promised} frames can be read; copy the file again or cut it to length")
    if not known or len(set(shown)) != len(shown):
        shown = _decoded_pts(path)
    return np.sort(np.array(shown, dtype=np.float64)) * base


def _decoded_pts(path: Path) -> list[float]:
    """Presentation times, in time base units, found by decoding; evenly spaced where the file has none."""
    import av.error

    with _open(path) as container:
        stream = container.streams.video[0]
        try:
            found = [frame.pts for frame in container.decode(stream)]
        except av.error.FFmpegError as error:
            raise FourfoldError(f"{path} is damaged ({error.strerror}): copy the file again or convert it to MP4 (H.264)") from error
        step = 1.0 / float((stream.average_rate or 30) * (stream.time_base or 1))
    if any(p is None for p in found) or np.any(np.diff(np.array(found, dtype=np.float64)) <= 0):
        return [i * step for i in range(len(found))]
    return [float(p) for p in found]


def _open(path: Path) -> Any:
    import av
    import av.error

    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, ValueError) as error:
        raise FourfoldError(f"{path} is not a video that can be opened: it is damaged, incomplete or another kind of file") from error
    if not container.streams.video:
        container.close()
        raise FourfoldError(f"{path} has no pictures in it, only other streams: give a video")
    return container
