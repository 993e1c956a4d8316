"""Files of one moment: which Gaussians they hold, and what each format's rounding costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from fourfold.capture.capture import Capture
from fourfold.export.options import ExportOptions, moment
from fourfold.export.packing import PackingError, packing_error
from fourfold.files import replacing
from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.scene import Scene
from fourfold.splats.compressed_ply import decode_compressed_ply, encode_compressed_ply
from fourfold.splats.drawn import drawn, morton_order
from fourfold.splats.ply import encode_ply
from fourfold.splats.sog import decode_sog, encode_sog
from fourfold.splats.spz import decode_spz, encode_spz

Encode = Callable[[Gaussians], bytes]
Decode = Callable[[bytes, str], Gaussians]


def export_ply(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """One moment; 32-bit floating-point numbers lose nothing."""
    write_ply(out, scene.at(moment(scene, options)))


def export_compressed_ply(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> PackingError:
    """One moment as PlayCanvas' compressed PLY."""
    return packed(scene, capture, out, moment(scene, options), (encode_compressed_ply, decode_compressed_ply))


def export_spz(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> PackingError:
    """One moment as Niantic's SPZ."""
    return packed(scene, capture, out, moment(scene, options), (encode_spz, decode_spz))


def export_sog(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> PackingError:
    """One moment as PlayCanvas' SOG."""
    return packed(scene, capture, out, moment(scene, options), (encode_sog, decode_sog))


def write_ply(path: Path, gaussians: Gaussians) -> int:
    """Write `gaussians` (one moment) to `path`, atomically; returns how many were visible and therefore written."""
    _, shown = drawn(gaussians)
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(encode_ply(shown))
    return len(shown)


def packed(scene: Scene, capture: Capture, out: Path, time: float, codec: tuple[Encode, Decode]) -> PackingError:
    """Write what is visible at `time`, neighbours together, and read it back."""
    encode, decode = codec
    with torch.no_grad():
        rows, shown = drawn(scene.at(time))
    order = morton_order(shown.means)
    data = encode(shown.select(order))
    with replacing(out) as temporary:
        temporary.write_bytes(data)
    return packing_error(scene, capture, lambda _: (rows[order], decode(data, str(out))), [time])
