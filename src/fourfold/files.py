"""Atomic files and keyed stages: what a stage wrote is complete, and is not made twice."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fourfold.errors import FourfoldError

STAGE_FILE = "stage.json"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` (file or directory, not yet made); rename it to `path` on success.

    Nothing is left behind on failure. A full disk becomes a `FourfoldError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield temporary
        if path.is_dir() and temporary.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except Exception as error:
        if disk_is_full(error):
            raise FourfoldError(f"no space left on the disk while writing {path}: free some space and run the same command again") from error
        raise
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def disk_is_full(error: BaseException) -> bool:
    """Whether `error` says that the disk or the quota is full, also where a native library says it in words only."""
    return (isinstance(error, OSError) and error.errno in (28, 122)) or "os error 28" in str(error)  # ENOSPC, EDQUOT; safetensors


def refuse_to_replace(directory: Path, pattern: str) -> None:
    """FourfoldError if `directory` is a file, or holds anything but files matching `pattern`: a sequence replaces only one of its own."""
    if directory.exists() and not (directory.is_dir() and all(p.is_file() and p.match(pattern) for p in directory.iterdir())):
        raise FourfoldError(f"{directory} exists and holds other things than {pattern}: choose another output folder")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


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
    """Make the directory `out` by `make(temporary_directory)` unless one with the same `key` is there.

    Returns True if it was made, False if the existing one serves.
    """
    stamp = out / STAGE_FILE
    if stamp.exists() and json.loads(stamp.read_text()).get("key") == key:
        return False
    with replacing(out) as temporary:
        temporary.mkdir()
        make(temporary)
        (temporary / STAGE_FILE).write_text(json.dumps({"key": key}))
    return True
