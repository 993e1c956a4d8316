"""The PLY of 3D Gaussian Splatting (Kerbl et al. 2023), binary little endian: what every splat viewer reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.errors import FourfoldError
from fourfold.geometry.gaussians import Gaussians
from fourfold.splats.convention import SH_DC, TERMS

MOST_HEADER = 1 << 16  # bytes
TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "<i2"),
    **dict.fromkeys(("ushort", "uint16"), "<u2"),
    **dict.fromkeys(("int", "int32"), "<i4"),
    **dict.fromkeys(("uint", "uint32"), "<u4"),
    **dict.fromkeys(("float", "float32"), "<f4"),
    **dict.fromkeys(("double", "float64"), "<f8"),
}
NEEDED = ("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3")


@dataclass(frozen=True)
class PlyElement:
    """One element of a header: its name, how many there are and their type."""

    name: str
    count: int
    dtype: np.dtype[np.void]


def encode_ply(gaussians: Gaussians) -> bytes:
    """The file of `gaussians` (`drawn.plain` ones), all of them in order."""
    names, table = ply_table(gaussians)
    properties = "".join(f"property float {name}\n" for name in names)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(table)}\n{properties}end_header\n"
    return header.encode("ascii") + np.ascontiguousarray(table, dtype="<f4").tobytes()


def ply_table(gaussians: Gaussians) -> tuple[list[str], NDArray[np.float32]]:
    """Property names and a row per Gaussian.

    Position, an unused normal, `f_dc` = (colour - 0.5) / `SH_DC`, `f_rest` channel by channel (all of red first), the logit of
    opacity, log scales, unit quaternion wxyz.
    """
    g = gaussians
    rest = g.means.new_zeros(len(g), 0, 3) if g.sh_rest is None else g.sh_rest
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    names += [f"f_rest_{i}" for i in range(3 * rest.shape[1])]
    names += ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    columns = [g.means, torch.zeros_like(g.means), (g.color - 0.5) / SH_DC, rest.transpose(1, 2).flatten(1), g.opacity_logit[:, None]]
    return names, torch.cat([*columns, g.log_scale, g.quat_wxyz], dim=1).numpy()


def decode_ply(data: bytes, name: str) -> Gaussians:
    """The Gaussians of a file, whatever order and type its properties have. FourfoldError, naming the file, for anything else."""
    elements, start = ply_header(data, name)
    tables = ply_elements(data, start, elements, name)
    vertex = tables.get("vertex")
    missing = [need for need in NEEDED if vertex is None or need not in (vertex.dtype.names or ())]
    if vertex is None or missing:
        raise FourfoldError(f"{name} is a PLY without Gaussians (it lacks {', '.join(missing[:3])}): expected the PLY of 3D Gaussian Splatting")

    def column(*names: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([vertex[n].astype(np.float32) for n in names], axis=1))

    named = {n for n in vertex.dtype.names or () if n.startswith("f_rest_")}
    rest = len(named)
    if rest not in [3 * terms for terms in TERMS] or named != {f"f_rest_{i}" for i in range(rest)}:
        raise FourfoldError(f"{name} has {rest} spherical harmonics: expected 0, 9, 24 or 45")
    harmonics = column(*[f"f_rest_{i}" for i in range(rest)]).unflatten(1, (3, rest // 3)).transpose(1, 2) if rest else None
    color = column("f_dc_0", "f_dc_1", "f_dc_2") * SH_DC + 0.5
    quats = column("rot_0", "rot_1", "rot_2", "rot_3")
    scales = column("scale_0", "scale_1", "scale_2")
    return Gaussians(column("x", "y", "z"), quats, scales, column("opacity")[:, 0], color, harmonics)


def ply_header(data: bytes, name: str) -> tuple[list[PlyElement], int]:
    """The elements that a header lists, and where their numbers begin. FourfoldError if it cannot be used."""
    end = data.find(b"end_header", 0, MOST_HEADER)
    close = data.find(b"\n", end, MOST_HEADER) if end >= 0 else -1
    if not data.startswith(b"ply") or close < 0:
        raise FourfoldError(f"{name} is not a PLY file (its header has no end): copy it again or write it again")
    elements: list[tuple[str, int, list[tuple[str, str]]]] = []
    for line in data[:end].decode("ascii", errors="replace").splitlines():
        match line.split():
            case ["format", kind, *_] if kind != "binary_little_endian":
                raise FourfoldError(f"{name} is a PLY of the format {kind}: expected binary_little_endian")
            case ["element", kind, count] if count.isdecimal() and len(count) < 11:
                elements.append((kind, int(count), []))
            case ["property", kind, what] if kind in TYPES and elements:
                elements[-1][2].append((what, TYPES[kind]))
            case ["element" | "property", *_]:
                raise FourfoldError(f"{name} has a header line that Gaussians do not need ({line[:60]!r}): expected the PLY of 3D Gaussian Splatting")
            case _:
                pass
    try:
        return [PlyElement(kind, count, np.dtype(fields)) for kind, count, fields in elements], close + 1
    except ValueError as error:
        raise FourfoldError(f"{name} names a property twice ({error}): write it again") from error


def ply_elements(data: bytes, start: int, elements: list[PlyElement], name: str) -> dict[str, NDArray[np.void]]:
    """The rows of each element. FourfoldError if the file is shorter than its header says."""
    needed = start + sum(e.count * e.dtype.itemsize for e in elements)
    if needed > len(data):
        raise FourfoldError(f"{name} is cut short: {len(data)} of {needed} bytes are there; copy it again")
    tables: dict[str, NDArray[np.void]] = {}
    for element in elements:
        tables[element.name] = np.frombuffer(data, element.dtype, element.count, start) if element.dtype.itemsize else np.zeros(0, element.dtype)
        start += element.count * element.dtype.itemsize
    return tables
