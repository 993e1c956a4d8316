"""Arrays in `.npy` and `.npz` files: the header is checked against the file before anything is allocated.

Source of the format: NumPy's documentation of `numpy.lib.format`. Objects (pickles) are never loaded.
"""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fourfold.errors import FourfoldError

Shape = tuple[int | None, ...]
MOST_UNPACKED = 1 << 30  # bytes of one array of a compressed file; what is stored plainly is bounded by the file
NUMERIC = "fiub"  # kinds of dtype: floating, integers, yes or no

# What NumPy and zipfile raise from damaged files, found by changing bytes of good ones.
_DAMAGE = (OSError, ValueError, EOFError, SyntaxError, TokenError, TypeError, OverflowError, MemoryError, RecursionError, KeyError)
_BAD_ZIP = (*_DAMAGE, zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, lzma.LZMAError, IndexError)


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def load_array(path: Path, shape: Shape | None = None, *, mapped: bool = False) -> NDArray[Any]:
    """The numbers of a `.npy` file, `mapped` left on disk.

    Args:
        path: the file.
        shape: what is expected, None for any size; None for any shape.
        mapped: whether the result is a read-only view into the file.

    Raises:
        FourfoldError: it is missing, damaged, shorter than its header says, of another shape, or holds Python objects.
    """
    try:
        with path.open("rb") as file:
            header = _header(file, str(path))
            left = path.stat().st_size - file.tell()
        if header.bytes > left:
            raise FourfoldError(f"{path} is cut short: {left} of {header.bytes} bytes are there; copy it again")
        check_shape(header.shape, shape, str(path))
        return np.load(path, mmap_mode="r" if mapped and header.bytes else None, allow_pickle=False)
    except FileNotFoundError as error:
        raise FourfoldError(f"{path} is missing: the layout needs it") from error
    except _DAMAGE as error:
        raise FourfoldError(f"{path} cannot be read as an array ({_said(error)}): write it again or remove it") from error


def archive_names(path: Path) -> list[str]:
    """The names of the arrays of a `.npz` file. FourfoldError if it cannot be opened."""
    with _opened(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def load_archive(path: Path, shapes: Mapping[str, Shape | None]) -> dict[str, NDArray[Any]]:
    """The arrays `shapes` of a `.npz` file by name, each of its shape. FourfoldError as for `load_array`, also if one is not there."""
    found: dict[str, NDArray[Any]] = {}
    with _opened(path) as archive:
        for name, shape in shapes.items():
            if f"{name}.npy" not in archive.namelist():
                raise FourfoldError(f"{path} has no array {name}: write it again")
            found[name] = _member(archive, f"{name}.npy", shape, path)
    return found


def array_shape(path: Path, name: str) -> tuple[int, ...]:
    """The shape of one array of a `.npz` file, from its header. FourfoldError as for `load_archive`."""
    with _opened(path) as archive:
        try:
            with archive.open(f"{name}.npy") as file:
                return _header(file, f"{path}: {name}").shape
        except _BAD_ZIP as error:
            raise FourfoldError(f"{path}: {name} cannot be read ({_said(error)}): write it again or remove it") from error


def check_shape(got: tuple[int, ...], wanted: Shape | None, what: str) -> None:
    """FourfoldError unless the shape `got` is `wanted`, where None is any size (and no `wanted` any shape)."""
    if wanted is None:
        return
    if len(got) != len(wanted) or any(n is not None and n != m for n, m in zip(wanted, got, strict=True)):
        expected = f"({', '.join('any' if n is None else str(n) for n in wanted)})"
        raise FourfoldError(f"{what} has the shape {got}, expected {expected}: it belongs to another capture or layout")


def _member(archive: zipfile.ZipFile, name: str, shape: Shape | None, path: Path) -> NDArray[Any]:
    what = f"{path}: {name.removesuffix('.npy')}"
    try:
        with archive.open(name) as file:
            header = _header(file, what)
            check_shape(header.shape, shape, what)
            most = max(MOST_UNPACKED, path.stat().st_size)
            if header.bytes > most:
                raise FourfoldError(f"{what} unpacks to {header.bytes >> 20} MB, at most {most >> 20} are read: store one array per frame instead")
            data = file.read(header.bytes)
    except _BAD_ZIP as error:
        raise FourfoldError(f"{what} cannot be read ({_said(error)}): write it again or remove it") from error
    if len(data) < header.bytes:
        raise FourfoldError(f"{what} is cut short: {len(data)} of {header.bytes} bytes are there; copy it again")
    return np.frombuffer(bytearray(data), header.dtype).reshape(header.shape, order="F" if header.fortran else "C")


def _header(file: IO[bytes], what: str) -> _Header:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.kind not in NUMERIC:
        raise FourfoldError(f"{what} holds {dtype}, expected numbers: write it again")
    if any(n < 0 for n in shape):
        raise FourfoldError(f"{what} has the shape {shape}, which no array can have: write it again")
    return _Header(tuple(int(n) for n in shape), bool(fortran), dtype)


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise FourfoldError(f"{path} is missing: the layout needs it") from error
    except _BAD_ZIP as error:
        raise FourfoldError(f"{path} cannot be read as .npz ({_said(error)}): write it again or remove it") from error


def _said(error: BaseException) -> str:
    """The error in one short line."""
    return " ".join(str(error).split())[:120] or type(error).__name__
