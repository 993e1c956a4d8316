"""Small videos, image folders and camera files for the capture tests."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

DATA = Path(os.environ.get("FOURFOLD_DATA", Path(__file__).parents[2] / "shared" / "data"))
Images = list[NDArray[np.uint8]]


def real(*parts: str) -> Path:
    """A path into the real data; skips the test, by name, where it is missing."""
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"real data {'/'.join(parts)} is not here")
    return path


def quadrants(width: int, height: int) -> NDArray[np.uint8]:
    """Red, green / blue, white quarters: any turn or flip shows."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (200, 30, 30)
    image[: height // 2, width // 2 :] = (30, 200, 30)
    image[height // 2 :, : width // 2] = (30, 30, 200)
    image[height // 2 :, width // 2 :] = (220, 220, 220)
    return image


def grey_ramp(count: int, width: int = 64, height: int = 48) -> Images:
    """Flat grey frames, each lighter than the last: a frame's number can be read off its mean."""
    return [np.full((height, width, 3), 20 + round(200 * i / max(count - 1, 1)), np.uint8) for i in range(count)]


def write_video(
    path: Path,
    frames: Images,
    *,
    fps: int = 10,
    milliseconds: Sequence[int] | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Encode RGB frames; `milliseconds` are the moments of a variable frame rate."""
    import av

    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=fps, options=options or ({"crf": "10"} if codec == "libx264" else {}))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        if milliseconds is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number if milliseconds is None else milliseconds[number]
            frame.time_base = Fraction(1, fps) if milliseconds is None else Fraction(1, 1000)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


def turn_clockwise(path: Path, height: int) -> None:
    """Write into an MP4's track header the matrix (x, y) -> (height - y, x): shown turned by 90 degrees clockwise, as phones do."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    data[at : at + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, height * one, 0, 1 << 30)
    path.write_bytes(data)


def box(kind: bytes, content: bytes) -> bytes:
    """A box of an MP4 file."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def with_track_metadata(path: Path, key: bytes, kind: int, value: bytes) -> None:
    """Put a QuickTime `meta` box with one key into the first track of an MP4 whose index stands at its end."""
    keys = box(b"keys", struct.pack(">II", 0, 1) + box(b"mdta", key))
    items = box(b"ilst", box(struct.pack(">I", 1), box(b"data", struct.pack(">II", kind, 0) + value)))
    extra = box(b"meta", box(b"hdlr", bytes(8) + b"mdta" + bytes(14)) + keys + items)
    data = bytearray(path.read_bytes())
    for name in (b"moov", b"trak"):
        at = data.index(name) - 4
        (size,) = struct.unpack_from(">I", data, at)
        struct.pack_into(">I", data, at, size + len(extra))
        end = at + size
    path.write_bytes(data[:end] + extra + data[end:])


def write_images(folder: Path, frames: Sequence[NDArray[np.uint8]], pattern: str = "{:05d}.png") -> list[Path]:
    """One file per frame, named by its number."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / pattern.format(i) for i in range(len(frames))]
    for path, frame in zip(paths, frames, strict=True):
        Image.fromarray(frame).save(path)
    return paths


def noise(count: int, width: int = 64, height: int = 48, seed: int = 0) -> Images:
    """Smooth random frames, each another."""
    import cv2

    rng = np.random.default_rng(seed)
    return [cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC) for _ in range(count)]
