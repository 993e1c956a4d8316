"""Blocks of bytes: tables of integers and floats by name, laid out so that deflate finds what repeats.

A table (R, C) lies column after column, of each column first the lowest bytes of all rows, then the next ones. Where that is smaller, rows hold the
difference to the row before. What can be negative is stored as 2 x or -2 x - 1.
"""

from __future__ import annotations

import base64
import gzip
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError

Section = dict[str, Any]
MOST_PLANES = 4


@dataclass
class Block:
    """A block that is being filled.

    Attributes:
        sections: of each table its "name", "shape" [R, C], "planes" (bytes of an entry), "delta" and "signed" (0 or 1), "offset", and "float".
        data: the bytes.
    """

    sections: list[Section] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)

    @property
    def names(self) -> set[str]:
        """Of the tables."""
        return {section["name"] for section in self.sections}

    def integers(self, name: str, values: NDArray[Any]) -> None:
        """Add `values` (R,) or (R, C), whole numbers of less than 31 bits."""
        table = _table(values).astype(np.int64)
        plain, steps = (_bytes(t) for t in (table, np.diff(table, axis=0, prepend=0)))
        smaller = len(zlib.compress(steps[2], 1)) < len(zlib.compress(plain[2], 1))
        self._add(name, table.shape, steps if smaller else plain, int(smaller))

    def floats(self, name: str, values: NDArray[Any]) -> None:
        """Add `values` (R,) or (R, C) in single precision."""
        table = _table(values).astype("<f4").view("<u4").astype(np.int64)
        self._add(name, table.shape, (4, 0, _planes(table, 4)), 0)
        self.sections[-1]["float"] = 1

    def _add(self, name: str, shape: tuple[int, ...], coded: tuple[int, int, bytes], delta: int) -> None:
        planes, signed, data = coded
        self.sections.append({"name": name, "shape": list(shape), "planes": planes, "delta": delta, "signed": signed, "offset": len(self.data)})
        self.data += data

    def text(self) -> str:
        """The bytes as a page carries them."""
        return base64.b64encode(gzip.compress(bytes(self.data), 9, mtime=0)).decode()


def read_block(sections: list[Section], data: bytes) -> dict[str, NDArray[Any]]:
    """The tables of a block by name, int64 or float32, (R, C)."""
    result: dict[str, NDArray[Any]] = {}
    for section in sections:
        (rows, columns), planes = section["shape"], section["planes"]
        raw = np.frombuffer(data, np.uint8, rows * columns * planes, section["offset"]).reshape(columns, planes, rows).astype(np.int64)
        values = (raw << (8 * np.arange(planes))[None, :, None]).sum(1).T
        if section["signed"]:
            values = np.where(values & 1, -(values >> 1) - 1, values >> 1)
        if section["delta"]:
            values = values.cumsum(0)
        result[section["name"]] = values.astype("<u4").view("<f4") if section.get("float") else values
    return result


def from_text(text: str) -> bytes:
    """The bytes of `Block.text`."""
    return gzip.decompress(base64.b64decode(text))


def _table(values: NDArray[Any]) -> NDArray[Any]:
    return values[:, None] if values.ndim == 1 else values


def _bytes(table: NDArray[np.int64]) -> tuple[int, int, bytes]:
    """Bytes of an entry, whether there are negative ones, and all of them."""
    signed = int(table.size > 0 and int(table.min()) < 0)
    coded = np.where(table < 0, -2 * table - 1, 2 * table) if signed else table
    planes = max(1, (int(coded.max()).bit_length() + 7) // 8) if table.size else 1
    if planes > MOST_PLANES or (planes == MOST_PLANES and int(coded.max()) >= 2**31):
        raise FourfoldError(f"the player holds whole numbers of 31 bits: got {int(np.abs(table).max())}")
    return planes, signed, _planes(coded, planes)


def _planes(table: NDArray[np.int64], planes: int) -> bytes:
    return b"".join(((column >> (8 * k)) & 255).astype(np.uint8).tobytes() for column in table.T for k in range(planes))
