"""Binary glTF 2.0: one buffer of 32-bit floating-point numbers, and the JSON that tells their meaning."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
FLOAT, ARRAY_BUFFER = 5126, 34962
HEAD, CHUNK = struct.Struct("<4sII"), struct.Struct("<I4s")


@dataclass
class Glb:
    """A file in the making.

    Attributes:
        document: its JSON but for the numbers: nodes, meshes, animations.
    """

    document: dict[str, Any]
    _parts: list[bytes] = field(default_factory=list)
    _views: list[dict[str, Any]] = field(default_factory=list)
    _accessors: list[dict[str, Any]] = field(default_factory=list)

    def add(self, values: NDArray[np.floating[Any]], *, bounds: bool = False, vertices: bool = False) -> int:
        """The index of an accessor of `values`, (N,) or (N, 2 to 4); with `bounds` it says their range, `vertices` are attributes of a mesh."""
        rows = np.ascontiguousarray(values.reshape(len(values), -1), "<f4")
        view = {"buffer": 0, "byteOffset": sum(map(len, self._parts[-1:])) + (self._views[-1]["byteOffset"] if self._views else 0)}
        view |= {"byteLength": rows.nbytes} | ({"target": ARRAY_BUFFER} if vertices else {})
        self._views.append(view)
        self._parts.append(rows.tobytes())
        accessor: dict[str, Any] = {"bufferView": len(self._views) - 1, "componentType": FLOAT, "count": len(rows), "type": KINDS[rows.shape[1]]}
        if bounds:
            accessor |= {"min": rows.min(0).astype(float).tolist(), "max": rows.max(0).astype(float).tolist()}
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    def encode(self) -> bytes:
        """The file."""
        body = b"".join(self._parts)
        whole = {"asset": {"version": "2.0", "generator": "fourfold"}, "scene": 0} | self.document
        if body:
            whole |= {"buffers": [{"byteLength": len(body)}], "bufferViews": self._views, "accessors": self._accessors}
        text = json.dumps(whole, allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        chunks = CHUNK.pack(len(text), b"JSON") + text + (CHUNK.pack(len(body), b"BIN\0") + body if body else b"")
        return HEAD.pack(b"glTF", 2, HEAD.size + len(chunks)) + chunks
