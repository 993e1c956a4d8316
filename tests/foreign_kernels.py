"""Runs the kernels' tests against a library of another platform, which an emulator holds: torch stays here, the kernels are called there.

    FOURFOLD_FOREIGN="wine host.exe libfourfold_v3.dll" FOURFOLD_FOREIGN_ISA=v3 python -m pytest -p foreign_kernels tests/test_kernels_ssim.py

with `tests` on PYTHONPATH. The command is `tests/foreign_host.cpp`, built for that platform, with the library it is to load. A call goes through a
pipe with all memory that its pointers reach, and what the kernel wrote comes back; `foreign_sizes.py` tells how much that is.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import struct
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from foreign_sizes import FLOAT, INT, SIZES, frames, size_of_frame
from fourfold.kernels import library

POINTER_RESULT, NO_RESULT = ("ff_raster_forward",), ("ff_set_threads", "ff_raster_free")


def _plain(argument: Any) -> Any:
    """A number as it is, of anything else its address."""
    if argument is None:
        return 0
    if isinstance(argument, (int, float)):
        return argument
    if hasattr(argument, "_obj"):  # byref
        return ctypes.addressof(argument._obj)
    if isinstance(argument, (ctypes.Array, ctypes.Structure)):
        return ctypes.addressof(argument)
    return argument.value or 0


class Foreign:
    """The library in the emulator, in the place of a `ctypes.CDLL`. One call at a time; frames are given back before the next one."""

    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.lock, self.useless = threading.RLock(), list[int]()

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("ff_"):
            raise AttributeError(name)
        function = _Function(self, name)
        setattr(self, name, function)
        return function

    def call(self, name: str, arguments: Sequence[Any]) -> int:
        if name == "ff_raster_free":  # may come from a collection of garbage in the middle of another call
            self.useless.append(_plain(arguments[0]))
            return 0
        with self.lock:
            while self.useless:
                frame = self.useless.pop()
                frames.pop(frame, None)
                self._exchange("ff_raster_free", [frame])
            result = self._exchange(name, [_plain(a) for a in arguments])
            if name == "ff_raster_forward":
                frames[result] = size_of_frame[0]
            return result

    def _exchange(self, name: str, arguments: list[Any]) -> int:
        message, back = [struct.pack("<i", len(name)), name.encode(), struct.pack("<i", len(arguments))], list[tuple[int, int]]()

        def memory(address: int, size: int) -> None:
            message.append(struct.pack("<q", size if address else -1))
            if address:
                message.append(ctypes.string_at(address, size))

        for value, size in zip(arguments, SIZES[name](arguments), strict=True):
            if size == INT:
                message.append(b"i" + struct.pack("<q", value))
                continue
            if size == FLOAT:
                message.append(b"f" + struct.pack("<f", value))
                continue
            message.append(b"p")
            own, pointers = (size, []) if isinstance(size, int) else _pointers(value, size)
            memory(value, own)
            message.append(struct.pack("<i", len(pointers)))
            if value and not pointers:
                back.append((value, own))
            elif value:
                back.append((0, own))  # the structure itself holds addresses of the other side
            for offset, address, bytes_ in pointers:
                message.append(struct.pack("<q", offset))
                memory(address, bytes_)
                if address:
                    back.append((address, bytes_))
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(b"".join(message))
        stdin.flush()
        result = struct.unpack("<q", _read(stdout, 8))[0]
        for address, size in back:
            content = _read(stdout, size)
            if address:
                ctypes.memmove(address, content, size)
        if name in POINTER_RESULT:
            return result
        return 0 if name in NO_RESULT else ctypes.c_int32(result & 0xFFFFFFFF).value


def _pointers(address: int, size: Any) -> tuple[int, list[tuple[int, int, int]]]:
    """Bytes of a structure, or of an array of pointers, and offset, address and bytes of what its pointers point to."""
    if isinstance(size[0], int):
        found = (ctypes.c_void_p * len(size)).from_address(address)
        return 8 * len(size), [(8 * i, found[i] or 0, n) for i, n in enumerate(size)]
    kind, inner = size
    names = [name for name, of in kind._fields_ if of is ctypes.c_void_p]
    assert len(names) == len(inner), kind
    held = kind.from_address(address)
    return ctypes.sizeof(kind), [(getattr(kind, name).offset, getattr(held, name) or 0, n) for name, n in zip(names, inner, strict=True)]


def _read(stream: Any, size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise RuntimeError("the emulator ended")
    return content


class _Function:
    """Called like a function of ctypes; the types that a caller declares are noted and not needed."""

    def __init__(self, foreign: Foreign, name: str) -> None:
        self.foreign, self.name = foreign, name
        self.restype: Any = ctypes.c_int
        self.argtypes: Any = None

    def __call__(self, *arguments: Any) -> int:
        return self.foreign.call(self.name, arguments)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Puts the foreign library in the place of this machine's, before `conftest.py` asks what there is."""
    command, isa = shlex.split(os.environ["FOURFOLD_FOREIGN"]), os.environ["FOURFOLD_FOREIGN_ISA"]
    foreign, marker = Foreign(command), Path(tempfile.mkdtemp()) / isa
    marker.touch()
    early_config.add_cleanup(foreign.process.kill)
    early_config.add_cleanup(lambda: shutil.rmtree(marker.parent))
    library.isas_of_cpu = lambda machine, flags: (isa,)
    library.library_path = lambda name: marker.with_name(name)
    library._open = lambda name: foreign
