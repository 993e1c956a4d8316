"""Boxes of MP4 and QuickTime files that FFmpeg does not show: the metadata a phone writes into its video track.

Source: ISO/IEC 14496-12 (boxes) and Apple's QuickTime File Format, "Metadata" (`meta` with `keys` and `ilst`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

LARGEST_INDEX = 1 << 26  # bytes of a `moov` box that is looked into; that of an hour of video is some megabytes
DEEPEST = 8
_HOLDERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"udta"})
_NUMBERS = {21: "i", 22: "u", 23: ">f", 24: ">d"}  # well-known types of a value: signed, unsigned, float32, float64


def movie_index(path: Path) -> bytes:
    """The content of the file's `moov` box; empty where there is none, or one too large or cut short."""
    try:
        end = path.stat().st_size
        with path.open("rb") as file:
            while len(head := file.read(8)) == 8:
                size, kind = struct.unpack(">I4s", head)
                begin = 8
                if size == 1:
                    size, begin = struct.unpack(">Q", file.read(8))[0], 16
                if size < begin or size - begin > end - file.tell():
                    return b""
                if kind == b"moov":
                    return file.read(size - begin) if size <= LARGEST_INDEX else b""
                file.seek(size - begin, 1)
    except (OSError, struct.error):
        return b""
    return b""


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) of the boxes in `data`, one after the other; stops at the first that is damaged."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8 or at + size > len(data):
            return
        yield kind, data[at + 8 : at + size]
        at += size


def find(data: bytes, kind: bytes, depth: int = 0) -> Iterator[bytes]:
    """The contents of all boxes `kind` in `data` and in the boxes that hold others."""
    if depth > DEEPEST:
        return
    for name, content in boxes(data):
        if name == kind:
            yield content
        elif name in _HOLDERS:
            yield from find(content, kind, depth + 1)


def metadata(index: bytes) -> dict[str, str | float]:
    """Keys and values of all `meta` boxes of a movie index, those of tracks too."""
    found: dict[str, str | float] = {}
    for content in find(index, b"meta"):
        inner = dict(boxes(content if content[4:8] == b"hdlr" else content[4:]))  # QuickTime's box has no version before its content
        names = [name.decode("utf-8", "replace") for _, name in boxes(inner.get(b"keys", b"")[8:])]
        for number, item in boxes(inner.get(b"ilst", b"")):
            (which,) = struct.unpack(">I", number)
            value = next((_value(data) for kind, data in boxes(item) if kind == b"data"), None)
            if 1 <= which <= len(names) and value is not None:
                found.setdefault(names[which - 1], value)
    return found


def _value(data: bytes) -> str | float | None:
    """A `data` box: its well-known type, a locale, then the value."""
    if len(data) < 8:
        return None
    (kind,), body = struct.unpack_from(">I", data), data[8:]
    if kind == 1:
        return body.decode("utf-8", "replace")
    if kind not in _NUMBERS:
        return None
    if kind < 23:
        return float(int.from_bytes(body, "big", signed=kind == 21)) if body else None
    return struct.unpack(_NUMBERS[kind], body)[0] if len(body) == struct.calcsize(_NUMBERS[kind]) else None
