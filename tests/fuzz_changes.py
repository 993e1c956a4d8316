"""Changes to files that a reader must survive: bits, lengths, numbers, types and shapes, as the file's kind has them."""

from __future__ import annotations

import copy
import io
import json
import random
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SIZES = (0, 1, 2, -1, 127, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
LEAVES: tuple[Any, ...] = (
    *(None, "", "x", "../../../etc/hostname", "\0", True, False, 0, -1, 1, 0.5, 3.7, "1", "nan", "é" * 300, 10**40, 1e308, -1e308, 1e-320),
    *(float("nan"), float("inf"), -float("inf"), [], {}, [[]], {"a": 1}, [1, 2, 3], [None], "a/b\\c", " "),
)
WORDS = ("", "nan", "inf", "-1", "0", "1e308", "x", "999999999999999999999", "-0", "[]", "\n", " ", '"', "None", "é", "0x10", "~", "*a", "&a")
NUMBERS = (0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 1e308, 1e-308, 1e20, -1e20, 1e-9)
TEXT = frozenset({".json", ".txt", ".toml", ".yml", ".yaml", ".csv", ".xml", ".conf", ".calib", ".xcp", ""})


def changed(path: Path, data: bytes, random_: random.Random) -> bytes:
    """`data`, the content of a file like `path`, changed in a way that suits its kind."""
    kind = path.suffix
    try:
        if kind == ".json" and random_.random() < 0.8:
            return _json(data, random_)
        if kind in (".npy", ".npz") and random_.random() < 0.65:
            return (_npy if kind == ".npy" else _npz)(data, random_)
        if kind == ".safetensors" and random_.random() < 0.7:
            return _safetensors(data, random_)
        if kind in TEXT and random_.random() < 0.7:
            return _text(data.decode(), random_)
    except (ValueError, OverflowError, TypeError, IndexError):  # the change does not suit this content
        pass
    return _bytes(data, random_)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from _places(value[key], (*path, key))
    elif isinstance(value, list):
        for at in range(len(value)):
            yield from _places(value[at], (*path, at))


def _json(data: bytes, random_: random.Random) -> bytes:
    value = json.loads(data)
    for _ in range(random_.choice((1, 1, 1, 2, 3))):
        path = random_.choice(list(_places(value)))
        if not path:
            if random_.random() < 0.1:
                return json.dumps(random_.choice(LEAVES)).encode()
            continue
        parent = value
        for step in path[:-1]:
            parent = parent[step]
        _change_entry(parent, path[-1], random_)
    return json.dumps(value).encode()


def _change_entry(parent: Any, key: Any, random_: random.Random) -> None:
    what, old = random_.random(), parent[key]
    if what < 0.55:
        parent[key] = copy.deepcopy(random_.choice(LEAVES))
    elif what < 0.75:
        del parent[key]
    elif what < 0.85 and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(old))
    elif what < 0.9 and isinstance(old, int | float) and not isinstance(old, bool):
        parent[key] = old * random_.choice((-1, 0, 1000, 1e-9, 1e20))
    elif what < 0.95 and isinstance(old, str):
        parent[key] = random_.choice((old + "x", old[:-1], old.upper(), "a/" + old, old.replace("/", "\\")))
    else:
        parent[key] = [old]


def _bytes(data: bytes, random_: random.Random) -> bytes:
    result = bytearray(data)
    for _ in range(random_.choice((1, 1, 2, 4, 16))):
        if not result:
            break
        what, at = random_.random(), random_.randrange(len(result))
        at = min(at, random_.randrange(min(len(result), 256))) if random_.random() < 0.4 else at
        if what < 0.3:
            result[at] ^= 1 << random_.randrange(8)
        elif what < 0.5:
            result[at] = random_.randrange(256)
        elif what < 0.6:
            width = random_.choice((1, 2, 4, 8))
            result[at : at + width] = (random_.choice(SIZES) & ((1 << 8 * width) - 1)).to_bytes(width, random_.choice(("little", "big")))
        elif what < 0.72:
            del result[at:]
        elif what < 0.8:
            del result[at : at + random_.randrange(1, 64)]
        elif what < 0.88:
            result[at:at] = random_.randbytes(random_.randrange(1, 32))
        elif what < 0.94:
            result[at : at + random_.randrange(1, 64)] = bytes(random_.randrange(1, 64))
        else:
            result[at:at] = result[at : at + 32]
    return bytes(result)


def _array(array: np.ndarray, random_: random.Random) -> np.ndarray:
    what = random_.random()
    if what < 0.35 and array.size and array.dtype.kind == "f":
        array = array.copy()
        with np.errstate(all="ignore"):
            for _ in range(random_.choice((1, 1, 3, array.size))):
                array.flat[random_.randrange(array.size)] = random_.choice(NUMBERS)
        return array
    if what < 0.45:
        return np.full_like(array, random_.choice((0, 1)))
    if what < 0.6:
        return array[: random_.randrange(max(1, array.shape[0]))] if array.ndim else array
    if what < 0.7:
        return array.reshape(-1) if random_.random() < 0.5 else array[None]
    if what < 0.8:
        return np.swapaxes(array, 0, -1) if array.ndim > 1 else array[..., None]
    if what < 0.92:
        with np.errstate(all="ignore"):
            return array.astype(random_.choice(("<f2", ">f8", "<i4", "|i1", "<u8", "<c16", "<U8", "|S4", "|b1")))
    return np.zeros(random_.choice(((0,), (1,), (), (0, 17), (3, 0), (2, 2, 2, 2))), array.dtype)


def _npy(data: bytes, random_: random.Random) -> bytes:
    out = io.BytesIO()
    np.save(out, _array(np.load(io.BytesIO(data)), random_))
    result = out.getvalue()
    return result.replace(b"'descr': '", b"'descr': '|O", 1) if random_.random() < 0.15 else result


def _npz(data: bytes, random_: random.Random) -> bytes:
    with np.load(io.BytesIO(data)) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for _ in range(random_.choice((1, 1, 2))):
        name = random_.choice(list(arrays))
        if random_.random() < 0.2 and len(arrays) > 1:
            del arrays[name]
        else:
            arrays[name] = _array(arrays[name], random_)
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def _safetensors(data: bytes, random_: random.Random) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])
    what = random_.random()
    if what < 0.3:
        header = json.loads(_json(json.dumps(header).encode(), random_))
    elif what < 0.7 and "__metadata__" in header:
        key = random_.choice(list(header["__metadata__"]))
        header["__metadata__"][key] = _json(header["__metadata__"][key].encode(), random_).decode()
    else:
        for _ in range(random_.choice((1, 4, 40))):
            at = random_.randrange(max(1, len(body) // 4)) * 4
            body[at : at + 4] = struct.pack("<f", random_.choice((0, -1, np.nan, np.inf, 1e38, -1e38, 1e-40)))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(body)


def _text(text: str, random_: random.Random) -> bytes:
    if random_.random() < 0.3:
        lines = text.splitlines(keepends=True)
        at = random_.randrange(len(lines))
        lines[at : at + 1] = [] if random_.random() < 0.5 else [lines[at], lines[at]]
        return "".join(lines).encode()
    match = random_.choice(list(re.finditer(r"-?\d+\.?\d*(?:e-?\d+)?|\w+", text)))
    return (text[: match.start()] + random_.choice(WORDS) + text[match.end() :]).encode()
