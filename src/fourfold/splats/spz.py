"""Niantic's SPZ, versions 2 and 3: gzip over columns of 24-bit positions and bytes; axes right, up, back.

Source of the format: https://github.com/nianticlabs/spz (README, "File format"). Version 4, a container of zstd streams, is not read or written.
"""

from __future__ import annotations

import math
import struct
import zlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.geometry.gaussians import Gaussians
from fourfold.splats.convention import SH_DC, TERMS, degree_of, from_smallest_three, smallest_three
from fourfold.splats.drawn import LEAST_OPAQUE, MOST_OPAQUE

MAGIC, VERSION = 0x5053474E, 3
HEADER = struct.Struct("<IIIBBBB")  # magic, version, points, degree of harmonics, fractional bits, flags, nothing
MOST_BITS = 20  # of the fraction: a millionth of a unit
COLOR_SCALE = 0.15  # of f_dc about the middle of a byte
BUCKETS = (8, 16)  # steps of harmonics in 256ths: degree 1, and beyond
DEFLATE_RATIO = 1032  # a deflate stream unpacks to no more times its size
FLIPPED = (-1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1)  # harmonics when y and z turn round
HALF = math.sqrt(0.5)


def encode_spz(gaussians: Gaussians) -> bytes:
    """The file of `gaussians` (`drawn.plain` ones), all in order. FourfoldError if they reach farther than 24 bits do."""
    g = gaussians
    degree = degree_of(0 if g.sh_rest is None else g.sh_rest.shape[1])
    reach = float(g.means.abs().max()) if len(g) else 0.0
    bits = min(MOST_BITS, 22 - max(0, math.ceil(math.log2(max(reach, 1e-9)))))
    if bits < 0:
        raise FourfoldError(f"the scene reaches {reach:.3g} units far, more than SPZ holds (4 million): export another format")
    flip = g.means.new_tensor([1, -1, -1])
    fixed = (g.means.double() * flip * 2**bits).round().to(torch.int32).numpy().astype("<i4")
    columns = [
        fixed.view(np.uint8).reshape(-1, 3, 4)[..., :3],
        _byte(torch.sigmoid(g.opacity_logit) * 255),
        _byte(((g.color - 0.5) / SH_DC * COLOR_SCALE + 0.5) * 255),
        _byte((g.log_scale + 10) * 16),
        _rotations(g.quat_wxyz * g.quat_wxyz.new_tensor([1, 1, -1, -1])),
    ]
    if g.sh_rest is not None and degree:
        columns.append(_harmonics_to_bytes(g.sh_rest))
    header = HEADER.pack(MAGIC, VERSION, len(g), degree, bits, 0, 0)
    packer = zlib.compressobj(9, wbits=31)
    return packer.compress(header + b"".join(np.ascontiguousarray(c).tobytes() for c in columns)) + packer.flush()


def decode_spz(data: bytes, name: str) -> Gaussians:
    """The Gaussians of a file of version 2 or 3; nothing is unpacked beyond what its count asks for. FourfoldError, naming the file, for others."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        head = unpacker.decompress(data, HEADER.size)
        if len(head) < HEADER.size:
            raise FourfoldError(f"{name} is cut short: copy it again")
        magic, version, count, degree, bits, _, _ = HEADER.unpack(head)
        if magic != MAGIC or version not in (2, 3) or degree > 3:
            raise FourfoldError(f"{name} is no SPZ file of version 2 or 3: write it again as version 3")
        widths = (9, 1, 3, 3, 3 if version == 2 else 4, 3 * TERMS[degree])
        needed = count * sum(widths)
        if needed > DEFLATE_RATIO * len(data):
            raise FourfoldError(f"{name} is cut short: {len(data)} bytes cannot hold {count} Gaussians; copy it again")
        body = unpacker.decompress(unpacker.unconsumed_tail, max(needed, 1))
        unpacker.decompress(unpacker.unconsumed_tail, 1)
    except zlib.error as error:
        raise FourfoldError(f"{name} is no SPZ file, or damaged ({error}): copy it again, or write it as version 3") from error
    if len(body) < needed or not unpacker.eof:
        raise FourfoldError(f"{name} is cut short: {len(body)} of {needed} bytes are there; copy it again")
    columns, start = [], 0
    for width in widths:
        columns.append(np.frombuffer(body, np.uint8, count * width, start).reshape(count, width))
        start += count * width
    return _from_columns(columns, version, bits)


def _from_columns(columns: list[NDArray[np.uint8]], version: int, bits: int) -> Gaussians:
    position, alpha, color, scale, rotation, harmonics = columns
    wide = np.zeros((len(position), 3, 4), np.uint8)
    wide[..., 1:] = position.reshape(-1, 3, 3)  # the highest three bytes of four keep the sign
    means = torch.from_numpy((wide.view("<i4")[..., 0] >> 8).astype(np.float64) * 2.0**-bits).float()
    quats = _rotations_2(rotation) if version == 2 else _rotations_3(rotation)
    opacity = torch.logit((_float(alpha)[:, 0] / 255).clamp(LEAST_OPAQUE, MOST_OPAQUE))
    rgb = (_float(color) / 255 - 0.5) / COLOR_SCALE * SH_DC + 0.5
    rest = None
    if harmonics.shape[1]:
        rest = ((_float(harmonics) - 128) / 128).unflatten(1, (-1, 3)) * torch.tensor(FLIPPED[: harmonics.shape[1] // 3])[:, None]
    return Gaussians(means * means.new_tensor([1, -1, -1]), quats * quats.new_tensor([1, 1, -1, -1]), _float(scale) / 16 - 10, opacity, rgb, rest)


def _rotations(quat_wxyz: Tensor) -> NDArray[np.uint8]:
    """(N, 4) version 3: in the order x y z w, which part is largest (2 bits) and sign and size (1 and 9 bits) of the others."""
    largest, others = smallest_three(quat_wxyz[:, [1, 2, 3, 0]])
    size = (others.abs() / HALF * 511).round().clamp(0, 511).long()
    word = largest
    for column in range(3):
        word = (word << 10) | ((others[:, column] < 0).long() << 9) | size[:, column]
    return word.numpy().astype("<u4").view(np.uint8).reshape(-1, 4)


def _rotations_3(packed: NDArray[np.uint8]) -> Tensor:
    word = torch.from_numpy(np.ascontiguousarray(packed).view("<u4")[:, 0].astype(np.int64))
    parts = torch.stack([(word >> shift) & 1023 for shift in (20, 10, 0)], dim=1)
    others = (parts & 511) / 511 * HALF * torch.where(parts & 512 > 0, -1.0, 1.0)
    return from_smallest_three(word >> 30, others)[:, [3, 0, 1, 2]]


def _rotations_2(packed: NDArray[np.uint8]) -> Tensor:
    xyz = _float(packed) / 127.5 - 1
    w = (1 - xyz.square().sum(1, keepdim=True)).clamp_min(0).sqrt()
    return torch.nn.functional.normalize(torch.cat([w, xyz], dim=1), dim=1)


def _harmonics_to_bytes(rest: Tensor) -> NDArray[np.uint8]:
    """(N, 3 terms) red, green and blue of each harmonic in turn, in steps of a bucket."""
    terms = rest.shape[1]
    bucket = torch.tensor([BUCKETS[0] if term < 3 else BUCKETS[1] for term in range(terms)])[:, None]
    steps = (rest * rest.new_tensor(FLIPPED[:terms])[:, None] * 128).round().clamp(-1e6, 1e6).long() + 128
    rounded = torch.div(steps + bucket // 2, bucket, rounding_mode="floor") * bucket
    return rounded.clamp(0, 255).to(torch.uint8).flatten(1).numpy()


def _byte(values: Tensor) -> NDArray[np.uint8]:
    return values.round().clamp(0, 255).to(torch.uint8).numpy()


def _float(values: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
