"""An ICC profile written by hand."""

from __future__ import annotations

import struct

# Display P3 adapted to D50, as Apple's profile states it (ICC.1:2022 has all colours in D50).
P3_COLUMNS = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def _fixed(values: tuple[float, ...]) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))


def display_p3(columns: tuple[tuple[float, ...], ...] = P3_COLUMNS, name: str = "Display P3") -> bytes:
    """An ICC profile of version 4 with a matrix and sRGB's curve, after ICC.1:2022, sections 7 and 10."""
    text = b"mluc" + struct.pack(">4xII2s2sII", 1, 12, b"en", b"US", 2 * len(name), 28) + name.encode("utf-16-be")
    curve = b"para" + struct.pack(">4xHxx", 3) + _fixed(SRGB_CURVE)
    xyz = [b"XYZ " + struct.pack(">4x") + _fixed(c) for c in (*columns, (0.9642, 1.0, 0.8249))]
    tags = [(b"desc", text), (b"cprt", text), *zip((b"rXYZ", b"gXYZ", b"bXYZ", b"wtpt"), xyz, strict=True)]
    tags += [(b"rTRC", curve), (b"gTRC", curve), (b"bTRC", curve)]
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for kind, data in tags:
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", kind, at + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"lcms", 0x04300000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp" + bytes(28)
    head += _fixed((0.9642, 1.0, 0.8249)) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + body
