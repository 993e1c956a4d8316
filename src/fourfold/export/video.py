"""MP4 videos (PyAV, H.264) and PNG pictures."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.files import refuse_to_replace, replacing
from fourfold.notices import fallback

QUALITY = "18"  # x264's constant rate factor: visually lossless; a larger number makes smaller files


def to_uint8(color: Tensor) -> NDArray[np.uint8]:
    """(..., 3) uint8 of colours in [0, 1]; what lies outside is clamped."""
    return (color.detach().clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) or (H, W) as PNG, atomically."""
    from PIL import Image

    with replacing(Path(path)) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")


def write_pngs(directory: Path, frames: Iterable[NDArray[np.uint8]]) -> int:
    """Write `frame_00000.png`, `frame_00001.png`, ... into a new `directory`, all or nothing; returns how many."""
    count = 0
    refuse_to_replace(Path(directory), "frame_*.png")
    with replacing(Path(directory)) as temporary:
        temporary.mkdir()
        for frame in frames:
            write_png(temporary / f"frame_{count:05d}.png", frame)
            count += 1
    return count


def write_mp4(path: Path, frames: Iterable[NDArray[np.uint8]], fps: float) -> int:
    """Encode frames (H, W, 3) uint8 RGB, all of one size, as an MP4 that every player opens; returns how many.

    H.264 with 4:2:0 colours wants even sizes: an odd last row or column is repeated once. Without the H.264 encoder MPEG-4 Part 2 is
    written instead, and said so.

    Raises:
        FourfoldError: there are no frames, they differ in size, or no encoder is there.
    """
    import av

    if not fps > 0:
        raise FourfoldError(f"got {fps:g} frames per second for {path}: expected more than 0")
    stream_of_frames = iter(frames)
    first = next(stream_of_frames, None)
    if first is None:
        raise FourfoldError(f"there is nothing to write into {path}: the list of frames is empty")
    count = 0
    with replacing(Path(path)) as temporary, av.open(str(temporary), mode="w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = _add_stream(container, first, fps)
        for frame in chain([first], stream_of_frames):
            if frame.shape != first.shape:
                raise FourfoldError(f"frame {count} of {path} is {frame.shape[1]}x{frame.shape[0]}, the first was {first.shape[1]}x{first.shape[0]}")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(_even(frame), format="rgb24")))
            count += 1
        container.mux(stream.encode(None))
    return count


def _add_stream(container: Any, first: NDArray[np.uint8], fps: float) -> Any:
    from av.codec.codec import UnknownCodecError

    rate = Fraction(fps).limit_denominator(1001)
    for codec in ("libx264", "mpeg4"):
        try:
            stream = container.add_stream(codec, rate=rate)
        except (UnknownCodecError, ValueError):
            fallback(f"the video encoder {codec} is not in this build of PyAV; trying the next one")
            continue
        stream.height, stream.width = (n + n % 2 for n in first.shape[:2])
        stream.pix_fmt = "yuv420p"
        if codec == "libx264":
            stream.options = {"crf": QUALITY, "preset": "medium"}
        else:
            stream.options = {"q:v": "2"}
        return stream
    raise FourfoldError("this build of PyAV has neither libx264 nor mpeg4: install PyAV from PyPI, or write PNG frames instead")


def _even(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    return np.ascontiguousarray(np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"))
