"""PlayCanvas' compressed PLY: 256 Gaussians share the bounds of their positions, sizes and colours; 16 bytes each, and one per harmonic.

Source of the format: https://developer.playcanvas.com/user-manual/gaussian-splatting/formats/ply/ and what SuperSplat writes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.geometry.gaussians import Gaussians
from fourfold.splats.convention import TERMS, from_smallest_three, smallest_three
from fourfold.splats.drawn import LEAST_OPAQUE, MOST_OPAQUE
from fourfold.splats.ply import ply_elements, ply_header

CHUNK = 256
BITS = (11, 10, 11)  # of x, y and z, highest first
SIZES = (-20.0, 20.0)  # natural logarithms; what lies outside is clamped
SH_SPAN = 8.0  # coefficients from -4 to 4 in 256 buckets
WHATS = (("x", "y", "z"), ("scale_x", "scale_y", "scale_z"), ("r", "g", "b"))
BOUNDS = [f"{side}_{what}" for whats in WHATS for side in ("min", "max") for what in whats]
PACKED = ["packed_position", "packed_rotation", "packed_scale", "packed_color"]


def encode_compressed_ply(gaussians: Gaussians) -> bytes:
    """The file of `gaussians` (`drawn.plain` ones), all in order: neighbours in the list should be neighbours in space."""
    g = gaussians
    terms = 0 if g.sh_rest is None else g.sh_rest.shape[1]
    groups = [g.means, g.log_scale.clamp(*SIZES), g.color]
    low, high = zip(*(_bounds(values) for values in groups), strict=True)
    chunks = torch.cat([side for pair in zip(low, high, strict=True) for side in pair], dim=1)
    shares = [_share(values, one, two) for values, one, two in zip(groups, low, high, strict=True)]
    color = torch.cat([shares[2], torch.sigmoid(g.opacity_logit)[:, None]], dim=1)
    largest, others = smallest_three(g.quat_wxyz)
    turned = _pack(others / 2**0.5 + 0.5, (10, 10, 10)) | (largest << 30)
    packed = torch.stack([_pack(shares[0], BITS), turned, _pack(shares[1], BITS), _pack(color, (8, 8, 8, 8))], dim=1)
    lines = ["ply", "format binary_little_endian 1.0", f"element chunk {len(chunks)}", *(f"property float {n}" for n in BOUNDS)]
    lines += [f"element vertex {len(g)}", *(f"property uint {n}" for n in PACKED)]
    body = chunks.numpy().astype("<f4").tobytes() + packed.numpy().astype("<u4").tobytes()
    if g.sh_rest is not None and terms:
        lines += [f"element sh {len(g)}", *(f"property uchar f_rest_{i}" for i in range(3 * terms))]
        steps = (g.sh_rest.transpose(1, 2).flatten(1) / SH_SPAN + 0.5) * 256
        body += steps.floor().clamp(0, 255).to(torch.uint8).numpy().tobytes()
    return ("\n".join([*lines, "end_header"]) + "\n").encode("ascii") + body


def decode_compressed_ply(data: bytes, name: str) -> Gaussians:
    """The Gaussians of a file. FourfoldError, naming the file, if it is none or damaged."""
    elements, start = ply_header(data, name)
    tables = ply_elements(data, start, elements, name)
    vertex, chunk = tables.get("vertex"), tables.get("chunk")
    if vertex is None or chunk is None or not set(PACKED) <= set(vertex.dtype.names or ()) or not set(BOUNDS[:12]) <= set(chunk.dtype.names or ()):
        raise FourfoldError(f"{name} is no compressed PLY of Gaussians: expected the elements chunk and vertex that SuperSplat writes")
    if len(chunk) * CHUNK < len(vertex):
        raise FourfoldError(f"{name} has {len(chunk)} chunks for {len(vertex)} Gaussians, expected one for every {CHUNK}: write it again")
    of = np.arange(len(vertex)) // CHUNK

    def between(first: int, values: NDArray[np.float32]) -> Tensor:
        low, high = (np.stack([chunk[n].astype(np.float32) for n in BOUNDS[at : at + 3]], axis=1)[of] for at in (first, first + 3))
        return torch.from_numpy(low + values * (high - low))

    position, rotation, scale, color = (np.asarray(vertex[n], np.uint32) for n in PACKED)
    parts = _unpack(color, (8, 8, 8, 8))
    others = torch.from_numpy((_unpack(rotation & 0x3FFFFFFF, (10, 10, 10)) - 0.5) * np.float32(2**0.5))
    quats = from_smallest_three(torch.from_numpy((rotation >> 30).astype(np.int64)), others)
    opacity = torch.logit(torch.from_numpy(parts[:, 3]).clamp(LEAST_OPAQUE, MOST_OPAQUE))
    rgb = between(12, parts[:, :3]) if set(BOUNDS[12:]) <= set(chunk.dtype.names or ()) else torch.from_numpy(parts[:, :3])
    means, sizes = between(0, _unpack(position, BITS)), between(6, _unpack(scale, BITS))
    return Gaussians(means, quats, sizes, opacity, rgb, _harmonics(tables.get("sh"), len(vertex), name))


def _harmonics(table: NDArray[np.void] | None, count: int, name: str) -> Tensor | None:
    if table is None:
        return None
    names = [f"f_rest_{i}" for i in range(len(table.dtype.names or ()))]
    if len(table) != count or len(names) not in [3 * terms for terms in TERMS] or set(names) != set(table.dtype.names or ()):
        raise FourfoldError(f"{name} has {len(names)} harmonics of {len(table)} Gaussians, expected 9, 24 or 45 of {count}: write it again")
    steps = torch.from_numpy(np.stack([np.asarray(table[n], np.float32) for n in names], axis=1))
    share = torch.where(steps == 0, 0.0, torch.where(steps == 255, 1.0, (steps + 0.5) / 256))
    return ((share - 0.5) * SH_SPAN).unflatten(1, (3, -1)).transpose(1, 2)


def _bounds(values: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest (C, 3) of each run of `CHUNK` rows."""
    runs = values.split(CHUNK) if len(values) else ()
    if not runs:
        return torch.zeros(0, 3), torch.zeros(0, 3)
    return torch.stack([run.amin(0) for run in runs]), torch.stack([run.amax(0) for run in runs])


def _share(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(N, 3) where values lie between the bounds of their run, in [0, 1]."""
    of = torch.arange(len(values)) // CHUNK
    return (values - low[of]) / (high - low)[of].clamp_min(1e-20)


def _pack(shares: Tensor, bits: tuple[int, ...]) -> Tensor:
    """(N,) int64 with numbers in [0, 1] (N, len(bits)) as whole steps, the first in the highest bits."""
    word = torch.zeros(len(shares), dtype=torch.int64)
    for column, width in enumerate(bits):
        steps = (1 << width) - 1
        word = (word << width) | (shares[:, column].double() * steps).round().clamp(0, steps).long()
    return word


def _unpack(word: NDArray[np.uint32], bits: tuple[int, ...]) -> NDArray[np.float32]:
    """The numbers in [0, 1] that `_pack` put together."""
    left, columns = sum(bits), []
    for width in bits:
        left -= width
        columns.append(((word >> left) & ((1 << width) - 1)).astype(np.float32) / ((1 << width) - 1))
    return np.stack(columns, axis=1)
