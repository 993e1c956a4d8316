"""Arrays written to `.npy` one frame at a time."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray


class FrameWriter:
    """A `.npy` file of shape (T, ...) whose frames are written in any order; a frame never written reads as zeros and takes no space on most disks.

    Plain writes rather than a memory map: a full disk then is an error that can be told, where a map would end the process.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._stride = int(np.prod(shape[1:])) * self.dtype.itemsize
        self._file = path.open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._start = self._file.tell()
        self._file.truncate(self._start + shape[0] * self._stride)

    def write(self, index: int, frame: NDArray[Any]) -> None:
        """Store one frame of shape `shape[1:]`."""
        self._file.seek(self._start + index * self._stride)
        self._file.write(np.ascontiguousarray(frame, dtype=self.dtype).reshape(self.shape[1:]).data)

    def __enter__(self) -> FrameWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
