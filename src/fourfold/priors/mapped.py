"""Safetensors files whose arrays stay on the disk: written block by block, read as views into the file.

The format: eight bytes with the length of a JSON header, little-endian, the header, then the arrays at the offsets that it names
(https://github.com/huggingface/safetensors, "Format").
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from fourfold.files import give_back

_TYPES = {name: np.dtype(kind) for name, kind in (("F16", "<f2"), ("F32", "<f4"), ("F64", "<f8"), ("U8", "u1"), ("U16", "<u2"))}
_TYPES |= {name: np.dtype(kind) for name, kind in (("I8", "i1"), ("I16", "<i2"), ("I32", "<i4"), ("I64", "<i8"))}
_BLOCK = 1 << 24  # bytes that are in memory at once


def save_mapped(arrays: Mapping[str, NDArray[Any]], path: Path, metadata: Mapping[str, str]) -> None:
    """Write arrays of the types above, a block of rows at a time."""
    names = {dtype: name for name, dtype in _TYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, array in arrays.items():
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            rows = max(1, _BLOCK * len(array) // max(array.nbytes, 1))
            for start in range(0, len(array), rows):
                file.write(np.ascontiguousarray(array[start : start + rows]).tobytes())
                give_back(array)


def load_mapped(path: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """Metadata, and views of the arrays; what is written into one stays in memory and does not reach the file.

    Raises:
        OSError, ValueError, SafetensorError: the file is missing or damaged.
    """
    with safe_open(path, framework="numpy") as checked:  # that header and size agree
        metadata = dict(checked.metadata() or {})
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    arrays: dict[str, NDArray[Any]] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, shape = _TYPES.get(entry["dtype"]), tuple(entry["shape"])
        if dtype is None:
            raise ValueError(f"{name} is of type {entry['dtype']}")
        offset = 8 + length + entry["data_offsets"][0]
        arrays[name] = np.memmap(path, dtype, "c", offset, shape) if prod(shape) else np.zeros(shape, dtype)
    return metadata, arrays


def scratch(shape: tuple[int, ...], dtype: type[np.generic], folder: Path) -> NDArray[Any]:
    """An array of zeros on the disk of `folder`, without a name there: it goes with the array, and `give_back` frees its memory meanwhile."""
    if not prod(shape):
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, dtype, "w+", shape=shape)
