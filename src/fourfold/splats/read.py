"""Gaussians of one moment from whatever splat file there is, told apart by what it holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fourfold.errors import FourfoldError
from fourfold.geometry.gaussians import Gaussians
from fourfold.splats.compressed_ply import decode_compressed_ply
from fourfold.splats.drawn import drawn
from fourfold.splats.ply import MOST_HEADER, decode_ply
from fourfold.splats.sog import decode_sog
from fourfold.splats.spz import decode_spz
from fourfold.untrusted.files import read_bytes

MOST_BYTES = 4 << 30
SUFFIXES = (".ply", ".spz", ".sog")


def read_splats(path: Path) -> Gaussians:
    """What a PLY, a compressed PLY, an SPZ (version 2 or 3) or a SOG file holds, without what is invisible or not finite.

    Raises:
        FourfoldError: the file is missing, of another kind, damaged, cut short, or holds no Gaussian that can be drawn.
    """
    data = read_bytes(Path(path), MOST_BYTES)
    if data.startswith(b"ply"):
        decode = decode_compressed_ply if b"element chunk" in data[:MOST_HEADER] else decode_ply
    elif data.startswith(b"PK"):
        decode = decode_sog
    elif data.startswith(b"\x1f\x8b"):
        decode = decode_spz
    else:
        raise FourfoldError(f"{path} is no splat file that is read here: expected PLY, compressed PLY, SPZ of version 2 or 3, or SOG")
    _, shown = drawn(decode(data, str(path)))
    if len(shown) == 0:
        raise FourfoldError(f"{path} holds no Gaussian that can be drawn: write it again")
    return replace(shown, color=shown.color.clamp(0, 1))
