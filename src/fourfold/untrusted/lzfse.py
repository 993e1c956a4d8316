"""Apple's LZFSE streams through the library lzfse where it is installed: what the blocks state that they unpack to is added up first.

Source of the block headers: the reference implementation's documentation (github.com/lzfse/lzfse, `lzfse_internal.h`).
"""

from __future__ import annotations

import struct
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fourfold.errors import FourfoldError
from fourfold.untrusted.files import read_bytes

END, STORED, LZVN, SHORT, LONG = b"bvx$", b"bvx-", b"bvxn", b"bvx2", b"bvx1"


@cache
def reads_lzfse() -> bool:
    """Whether the library is there."""
    return find_spec("lzfse") is not None


def load_lzfse(path: Path, most: int) -> bytes:
    """What the stream in `path` unpacks to. FourfoldError if it is missing, damaged, would be more than `most` bytes, or the library is missing."""
    if not reads_lzfse():
        raise FourfoldError(f"{path} needs the library lzfse: pip install 'fourfold[record3d]'")
    import lzfse

    data = read_bytes(path, 2 * most + 4096)
    if (stated := unpacked_size(data)) is None:
        raise FourfoldError(f"{path} is no LZFSE stream, or one that is cut short: export the recording again")
    if stated > most:
        raise FourfoldError(f"{path} unpacks to {stated} bytes, at most {most} belong to such a file: export the recording again")
    try:
        return bytes(lzfse.decompress(data))
    except (lzfse.error, MemoryError, ValueError) as error:
        raise FourfoldError(f"{path} cannot be unpacked: export the recording again") from error


def unpacked_size(data: bytes) -> int | None:
    """How many bytes the blocks state, None if they do not follow one another to the end of the stream."""
    at, size = 0, 0
    try:
        while (kind := data[at : at + 4]) != END:
            (raw,) = struct.unpack_from("<I", data, at + 4)
            if kind == STORED:
                at += 8 + raw
            elif kind == LZVN:
                at += 12 + struct.unpack_from("<I", data, at + 8)[0]
            elif kind == SHORT:
                literals, matches, rest = struct.unpack_from("<3Q", data, at + 8)
                at += (rest & 0xFFFFFFFF) + (literals >> 20 & 0xFFFFF) + (matches >> 40 & 0xFFFFF)
            else:
                return None  # the long form is only ever made inside a decoder
            size += raw
    except struct.error:
        return None
    return size
