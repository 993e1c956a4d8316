"""Finished frames of a slow provider, kept on disk while it works, so that a run that was killed goes on where it was.

The frames lie in the provider's `.part` folder beside its result and are removed with it once the result is complete.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fourfold.errors import FourfoldError
from fourfold.files import checksum, disk_is_full, no_space

KEY_FILE = "key"
CHECKSUM = "checksum"


@dataclass(frozen=True)
class KeptFrames:
    """A folder of finished frames; without a folder nothing is kept and every frame is computed.

    Attributes:
        folder: where frames are kept, made with the first one, or None.
        key: of the configuration and inputs that the frames are of.
    """

    folder: Path | None = None
    key: str = ""

    def frame(self, name: str, make: Callable[[], Sequence[NDArray[Any]] | None]) -> list[NDArray[Any]] | None:
        """The arrays of the frame `name`: read back if they were finished before, else made and kept; None where `make` gives None.

        The arrays come back exactly as `make` returned them. Safe for threads as long as each asks for other names.
        """
        if self.folder is None:
            made = make()
            return None if made is None else [np.asarray(a) for a in made]
        path = self.folder / f"{name}.safetensors"
        kept = _read(path)
        if kept is not None:
            return kept or None
        made = make()
        arrays = [] if made is None else [np.ascontiguousarray(a) for a in made]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / KEY_FILE).write_text(self.key)
        _write(path, arrays)
        return None if made is None else arrays


def open_kept(folder: Path, key: str) -> KeptFrames:
    """The frames kept in `folder` under `key`; what another key left there is removed."""
    stamp = folder / KEY_FILE
    if folder.exists() and (not stamp.is_file() or stamp.read_text() != key):
        shutil.rmtree(folder)
    return KeptFrames(folder, key)


def drop_kept(kept: KeptFrames) -> None:
    """Remove the kept frames: the result is complete."""
    if kept.folder is not None:
        shutil.rmtree(kept.folder, ignore_errors=True)


def _read(path: Path) -> list[NDArray[Any]] | None:
    """The arrays in `path`; None if it is not there or damaged (such a frame is made anew)."""
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - a safetensors file is not a dict
            sealed = (file.metadata() or {}).get(CHECKSUM)
    except (OSError, ValueError, SafetensorError):
        return None
    if sealed != str(checksum(sorted(arrays.items()))):
        return None
    return [arrays[k] for k in sorted(arrays) if k != "none"]


def _write(path: Path, arrays: Sequence[NDArray[Any]]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    # safetensors wants one array at least: a frame that has no result is a file with a mark in it
    named = {f"{i:03d}": a for i, a in enumerate(arrays)} or {"none": np.zeros(1, np.uint8)}
    try:
        save_file(named, temporary, metadata={CHECKSUM: str(checksum(sorted(named.items())))})
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        if disk_is_full(error):
            raise FourfoldError(no_space(f" while writing {path}")) from error
        raise
