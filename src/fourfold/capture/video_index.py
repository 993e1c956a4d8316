"""When each picture of a video is shown, and which of a file's streams is the film."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError

INDEXED = ("mp4", "mov", "matroska", "webm")  # containers whose packets tell when each picture is shown
ATTACHED = 0x400 | 0x800 | 0x100000  # FFmpeg's dispositions attached_pic, timed_thumbnails and still_image


def film_streams(container: Any) -> list[int]:
    """Numbers of the streams that are films, the best first: those of the most pixels, then of the most pictures.

    Cover pictures and streams of a single picture count only where there is nothing else. Only a file of several streams of pictures is read through.
    FourfoldError if no stream's codec is known.
    """
    streams = [stream for stream in container.streams.video if stream.codec_context is not None]
    if not streams:
        raise FourfoldError(f"{container.name} holds pictures in a codec that is not known here: convert it to MP4 (H.264) first")
    if len(streams) == 1:
        return [streams[0].index]
    pictures = dict.fromkeys((stream.index for stream in streams), 0)
    for packet in container.demux(streams):
        pictures[packet.stream.index] += packet.size > 0
    films = [s for s in streams if not int(s.disposition) & ATTACHED and pictures[s.index] > 1] or streams
    area = {s.index: (s.codec_context.width or 0) * (s.codec_context.height or 0) for s in films}
    return sorted(area, key=lambda index: (-area[index], -pictures[index], index))


def shown_times(path: Path, stream_index: int) -> NDArray[np.float64]:
    """(N,) seconds, on the file's clock, of the frames that will be shown, from the packets alone where they say it, else by decoding once."""
    import av.error

    shown, whole = [], 0
    with open_container(path) as container:
        stream = container.streams[stream_index]
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
        shown = _decoded_pts(path, stream_index)
    return np.sort(np.array(shown, dtype=np.float64)) * base


def _decoded_pts(path: Path, stream_index: int) -> list[float]:
    """Presentation times, in time base units, found by decoding; evenly spaced where the file has none."""
    import av.error

    with open_container(path) as container:
        stream = container.streams[stream_index]
        try:
            found = [frame.pts for frame in container.decode(stream)]
        except av.error.FFmpegError as error:
            raise FourfoldError(f"{path} is damaged ({error.strerror}): copy the file again or convert it to MP4 (H.264)") from error
        step = 1.0 / float((stream.average_rate or 30) * (stream.time_base or 1))
    if any(p is None for p in found) or np.any(np.diff(np.array(found, dtype=np.float64)) <= 0):
        return [i * step for i in range(len(found))]
    return [float(p) for p in found]


def open_container(path: Path) -> Any:
    """The file opened with PyAV. FourfoldError if it is no video or holds only other streams."""
    import av
    import av.error

    try:
        container = av.open(str(path))
    except av.error.PermissionError as error:
        raise FourfoldError(f"{path} may not be read by this user: change its permissions or copy it") from error
    except (av.error.FFmpegError, ValueError) as error:
        if path.is_file() and path.stat().st_size == 0:
            raise FourfoldError(f"{path} is empty, of 0 bytes: copy the file again") from error
        raise FourfoldError(f"{path} is not a video that can be opened: it is damaged, incomplete or another kind of file") from error
    if not container.streams.video:
        container.close()
        raise FourfoldError(f"{path} has no pictures in it, only other streams: give a video")
    return container
