"""Atomic files and keyed stages: what a stage wrote is complete, is not made twice, and is noticed when it was damaged since.

A stage's folder holds `stage.json`: the key of what was asked, and size and checksum of every file beside it.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
import shutil
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError
from fourfold.interruption import temporary as gone_if_forced
from fourfold.notices import fallback

STAGE_FILE = "stage.json"
CHECKSUM = "checksum"
_FULL = ("os error 28", "No space left on device", "database or disk is full")  # as safetensors, the system and SQLite say it
_PART = re.compile(r"\.([^/\\]+)\.[0-9a-f]{8}\.part")  # the name of what `replacing` writes first
_BLOCK = 1 << 18  # bytes of a file that are summed at once


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` (file or directory, not yet made); rename it to `path` on success.

    What was written is on the disk before the rename, and is readable by whom the user's umask allows. Nothing is left behind on failure.
    A full disk becomes a `FourfoldError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with gone_if_forced(temporary):
            yield temporary
            _settle(temporary)
            if path.is_dir() and temporary.is_dir():
                shutil.rmtree(path)
            os.replace(temporary, path)
        _flush(path.parent)
    except Exception as error:
        if disk_is_full(error):
            raise FourfoldError(no_space(f" while writing {path}")) from error
        raise
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _settle(path: Path) -> None:
    """Flush the file `path`, or every file of the folder, to the disk, with the permissions that any new file of this user gets."""
    for file in [p for p in path.rglob("*") if p.is_file() and not p.is_symlink()] if path.is_dir() else [path]:
        file.chmod(0o666 & ~_umask())  # some libraries make files that only their owner may read
        _flush(file)


def _flush(path: Path) -> None:
    with suppress(OSError):  # a folder cannot be flushed everywhere
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@cache
def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def asked_for(error: OSError, otherwise: str | Path = "a file") -> str:
    """The path that an error is about as the user knows it: not the name that `replacing` writes first, and not endless."""
    name = _PART.sub(r"\1", str(error.filename or otherwise))
    return name if len(name) < 200 else name[:200] + "..."


def disk_is_full(error: BaseException) -> bool:
    """Whether `error` says that the disk or the quota is full, also where a native library says it in words only."""
    return (isinstance(error, OSError) and error.errno in (28, 122)) or any(w in str(error) for w in _FULL)  # ENOSPC, EDQUOT


def no_space(while_doing: str = "") -> str:
    """What is said of a full disk."""
    return f"no space left on the disk{while_doing}: free some space and run the same command again"


def refuse_to_replace(directory: Path, pattern: str) -> None:
    """FourfoldError if `directory` is a file, or holds anything but files matching `pattern`: a sequence replaces only one of its own."""
    if directory.exists() and not (directory.is_dir() and all(p.is_file() and p.match(pattern) for p in directory.iterdir())):
        raise FourfoldError(f"{directory} exists and holds other things than {pattern}: choose another output folder")


RUN_FILES = ("scene.safetensors", "config.json", "report.json", "report.html", "metrics.jsonl")
"""What a run cannot do without, or remembers itself by."""


def refuse_other_kinds(out: Path, like: str) -> None:
    """FourfoldError if the file `out` does not end as the file name `like` does, or is a part of a run."""
    ending = Path(like).suffix
    if ending and out.suffix.lower() != ending:
        raise FourfoldError(f"{out} does not end with {ending}, as what would be written there does: give another name")
    if out.name in RUN_FILES and (out.parent / "config.json").is_file():
        raise FourfoldError(f"{out} is a part of the run in {out.parent}, which would be lost: give another name")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    _write_text(path, value)


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write an object as indented JSON, atomically, with a checksum of it, which `read_object` looks at and takes out."""
    plain = json.loads(json.dumps(value, allow_nan=False))
    _write_text(path, {**plain, CHECKSUM: text_checksum(plain)})


def text_checksum(value: Any) -> int:
    """CRC-32 of a JSON-able value, whatever the order of its keys."""
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def _write_text(path: Path, value: Any) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`, without its checksum. FileNotFoundError if there is none; FourfoldError if it is damaged or something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FourfoldError(f"{path} is damaged ({error}): run the command that wrote it again") from error
    if not isinstance(value, dict):
        raise FourfoldError(f"{path} is damaged (it holds no JSON object): run the command that wrote it again")
    if value.pop(CHECKSUM, None) not in (None, text_checksum(value)):
        raise FourfoldError(f"{path} is damaged (its checksum is another): run the command that wrote it again")
    return value


def describe(value: Any) -> Any:
    """A JSON-able description of a config made of dataclasses, functions, mappings, sequences, arrays and scalars.

    Two configs with the same description give the same stage key.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__qualname__, **{f.name: describe(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in sorted(value.items(), key=lambda item: str(item[0]))}
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if isinstance(value, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    if isinstance(value, Path):
        return str(value)
    if callable(value):
        return f"{value.__module__}.{value.__qualname__}"
    return value


def key_of(*parts: Any) -> str:
    """A short stable hash of configs and upstream keys."""
    return hashlib.sha256(json.dumps([describe(p) for p in parts], sort_keys=True, default=str).encode()).hexdigest()[:16]


def run_stage(out: Path, key: str, make: Callable[[Path], None]) -> bool:
    """Make the directory `out` by `make(temporary_directory)` unless one with the same `key` is there, whole.

    What is there and damaged is said once and made again. Returns True if it was made, False if the existing one serves.
    """
    if (out / STAGE_FILE).exists():
        kept = read_stamp(out).get("key")
        broken = damaged_file(out) if kept == key else None if kept else out / STAGE_FILE
        if kept == key and broken is None:
            return False
        if broken is not None:
            fallback(f"{broken} is damaged or missing: {out} is made again")
    with replacing(out) as temporary:
        temporary.mkdir()
        make(temporary)
        _write_stamp(temporary, key)
    return True


def reseal(folder: Path) -> None:
    """Take the files of a stage's folder as they are now for right; without `stage.json` there is nothing to do."""
    if "key" in (stamp := read_stamp(folder)):
        _write_stamp(folder, stamp["key"])


def _write_stamp(folder: Path, key: str) -> None:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != STAGE_FILE)
    write_json(folder / STAGE_FILE, {"key": key, "files": {str(p.relative_to(folder)): _seal(p) for p in files}})


def read_stamp(folder: Path) -> dict[str, Any]:
    """What `folder/stage.json` holds, empty where there is none or it is damaged."""
    try:
        stamp = json.loads((folder / STAGE_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) and isinstance(stamp.get("files", {}), dict) else {}


def damaged_file(folder: Path) -> Path | None:
    """The first file of a stage's folder that is not as it was written (missing, of another size, or with another checksum), or None.

    A folder without `stage.json` was not made by a stage, and nothing is known about it.
    """
    for name, sealed in read_stamp(folder).get("files", {}).items():
        try:
            if _seal(folder / name) != sealed:
                return folder / name
        except OSError:
            return folder / name
    return None


def check_undamaged(folder: Path, again: str) -> None:
    """FourfoldError if a file of a stage's folder is not as it was written; `again` says what makes it anew."""
    broken = damaged_file(folder)
    if broken is not None:
        raise FourfoldError(f"{broken} is damaged or missing: {again}")


def checksum(arrays: Iterable[tuple[str, NDArray[Any]]], total: int = 0) -> int:
    """CRC-32 of named arrays: their names, types, shapes and bytes, in the given order, going on from the checksum `total`."""
    for name, array in arrays:
        total = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), total)
        total = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8), total)
    return total


def _seal(path: Path) -> list[int]:
    """Size and CRC-32 of a file; a file that has not changed since is not read twice by one process."""
    stat = path.stat()
    return [stat.st_size, _file_checksum(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)]


@lru_cache(maxsize=4096)
def _file_checksum(path: Path, inode: int, size: int, changed: int) -> int:
    total = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            total = zlib.crc32(block, total)
    return total


def give_back(array: object) -> None:
    """Give back the memory of an array that is mapped from a file: what was looked at is read from the disk again when it is asked for."""
    mapped = getattr(array, "base", None)
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
