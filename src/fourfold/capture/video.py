"""Videos through PyAV: true timestamps, upright pictures of standard colours, one sequential decode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.boxes import movie_index
from fourfold.capture.colour import Colour, colour_of, to_rgb
from fourfold.capture.orientation import Orientation
from fourfold.capture.video_index import film_streams, open_container, shown_times
from fourfold.errors import FourfoldError
from fourfold.untrusted.images import MOST_PIXELS

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".flv", ".ogv", ".3gp", ".gif"})

ALL_AROUND = (b"sv3d", b"GSpherical:Spherical")  # of Google's spherical video metadata, version 2 and 1
SECOND_EYE = b"lhvC"  # the box with the parameters of the second layer, ISO/IEC 14496-15
BOTH_EYES = "ffmpeg -i IN -map 0:v:0:vpos:left L.mp4 -map 0:v:0:vpos:right R.mp4, FFmpeg 7.1 or later"
WIDEST_PIXEL = 4.0  # width over height; a file that tells more is damaged
LOOKED_AT = 12  # pictures at the start of which one must be interlaced for a film to be


@dataclass(frozen=True)
class VideoFile:
    """A video's frames in order of presentation, upright and with square pixels.

    Attributes:
        path: the file.
        size: upright width and height, pixels.
        orientation: how a decoded frame is turned or mirrored to stand upright.
        stretch: width of a pixel over its height, before turning.
        colour: what its numbers mean.
        interlaced: whether two fields are woven into each frame, which are then taken apart.
        stream: number of the stream within the file.
        left_out: sizes of the other films in the file.
        times: (N,) float64 seconds of each frame, increasing, the first is 0.
        begins: seconds on the file's own clock of the first frame.
        has_audio: whether there is sound.
        pixel_format: as stored.
        made: seconds since 1970 by the clock of the camera when it was begun, None where the file does not say.
        second_eye: whether the stream holds the pictures of another eye (MV-HEVC, spatial video), which are not decoded.
    """

    path: Path
    size: tuple[int, int]
    orientation: Orientation
    stretch: float
    colour: Colour
    interlaced: bool
    stream: int
    left_out: tuple[str, ...]
    times: NDArray[np.float64]
    begins: float
    has_audio: bool
    pixel_format: str
    made: float | None = None
    second_eye: bool = False

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
                yield self.upright(frame)
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
        with open_container(self.path) as container:
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

    @property
    def treatment(self) -> tuple[str, ...]:
        """What is done to the pictures on reading, beyond the usual, each in words."""
        woven = "interlaced: each frame is made of its first field" if self.interlaced else ""
        stretched = f"pixels of {self.stretch:.3g} times their height in width are made square" if abs(self.stretch - 1) > 1e-3 else ""
        eye = f"the picture of one eye is read of this spatial video: to use both, write two films first ({BOTH_EYES})" if self.second_eye else ""
        others = (
            f"the film of {self.size[0]}x{self.size[1]} is taken, of others in the file ({', '.join(self.left_out)}) none" if self.left_out else ""
        )
        return tuple(w for w in (self.colour.words, woven, self.orientation.words, stretched, others, eye) if w)

    def _raw(self) -> Iterator[Any]:
        import av.error

        with open_container(self.path) as container:
            stream = container.streams[self.stream]
            stream.thread_type = "AUTO"
            read = 0
            try:
                decoded = container.decode(stream)
                for frame in deinterlaced(decoded, stream) if self.interlaced else decoded:
                    yield frame
                    read += 1
            except av.error.FFmpegError as error:
                raise FourfoldError(
                    f"{self.path} is damaged: {read} of its {len(self)} frames can be read; copy the file again or cut it to length"
                ) from error

    def upright(self, frame: Any) -> NDArray[np.uint8]:
        image = self.orientation.apply(to_rgb(frame, self.colour, round(frame.width * self.stretch)))
        if (image.shape[1], image.shape[0]) != self.size:
            got = f"{image.shape[1]}x{image.shape[0]}"
            raise FourfoldError(f"{self.path} changes size from {self.size[0]}x{self.size[1]} to {got} on the way: cut it where it changes")
        return image


def deinterlaced(frames: Iterable[Any], stream: Any) -> Iterator[Any]:
    """Interlaced frames as whole pictures of the moment of their first field, as many as there are; the others as they are.

    FFmpeg's `bwdif` (the BBC's w3fdif with yadif's motion checks) fills the missing lines from the neighbouring fields.
    """
    import av.filter

    graph = av.filter.Graph()
    source, weave, sink = graph.add_buffer(template=stream), graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink")
    source.link_to(weave)
    weave.link_to(sink)
    graph.configure()
    for frame in chain(frames, (None,)):
        source.push(frame)
        while True:
            try:
                yield sink.pull()
            except (BlockingIOError, EOFError):  # it waits for more, or has given all
                break


def open_video(path: Path) -> VideoFile:
    """What a video file holds, from its index and its first frames; nothing else is decoded.

    FourfoldError if it is not a video, or if it breaks off before the end that its header promises.
    """
    import av.error

    with open_container(path) as container:
        films = film_streams(container)
        others = [container.streams[n].codec_context for n in films[1:]]
        left_out = tuple(f"{c.width}x{c.height}" for c in others)
        has_audio, made = bool(container.streams.audio), _made(container)
    with open_container(path) as container:
        stream = container.streams[films[0]]
        wide, high = stream.codec_context.width, stream.codec_context.height
        if wide * high > MOST_PIXELS:
            raise FourfoldError(f"{path} is {wide}x{high}, at most {MOST_PIXELS // 10**6} million pixels are read: reduce it first")
        first, interlaced, why = None, False, ""
        try:
            for frame in islice(container.decode(stream), LOOKED_AT):
                first, interlaced = first or frame, interlaced or bool(frame.interlaced_frame)
        except av.error.FFmpegError as error:  # one behind the first is told with its number when the film is read
            why = f" ({error.strerror})"
        if first is None:
            raise FourfoldError(f"{path} has no frame that can be decoded{why}: convert it to MP4 (H.264) first")
        aspect = stream.sample_aspect_ratio
        matrix = next((bytes(s) for s in first.side_data if s.type.name == "DISPLAYMATRIX"), b"")
        orientation = Orientation.from_display_matrix(matrix)
        stretch = float(aspect) if aspect and 1 / WIDEST_PIXEL <= aspect <= WIDEST_PIXEL else 1.0
        size = orientation.size((round(first.width * stretch), first.height))
        colour, pixel_format = colour_of(first), first.format.name
    index = movie_index(path)
    if any(mark in index for mark in ALL_AROUND) or any(s.type.name == "SPHERICAL" for s in first.side_data):
        raise FourfoldError(f"{path} is a film all around (360 degrees or VR180), which no flat camera sees: cut perspective views out of it first")
    times = shown_times(path, films[0])
    return VideoFile(
        path,
        size,
        orientation,
        stretch,
        colour,
        interlaced,
        films[0],
        left_out,
        times - times[0],
        float(times[0]),
        has_audio,
        pixel_format,
        made,
        SECOND_EYE in index,
    )


def _made(container: Any) -> float | None:
    try:
        return datetime.fromisoformat(str(container.metadata.get("creation_time", ""))).timestamp() or None
    except (ValueError, OverflowError):
        return None


def is_video(path: Path) -> bool:
    """Whether the name is a video's."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and path.is_file()
