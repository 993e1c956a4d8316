"""Bytes and text of files of unknown origin, within limits; and questions about paths that a file names."""

from __future__ import annotations

import io
from pathlib import Path

from fourfold.errors import FourfoldError

MOST_TEXT = 64 << 20  # bytes of a text file; the largest lists of cameras in public data sets are near 10 MB
MOST_MARKUP = 4 << 20  # bytes of a YAML or XML file, whose parsers are slow


def read_bytes(path: Path, most: int = MOST_TEXT) -> bytes:
    """What `path` holds. FourfoldError if it is missing, may not be read, or is larger than `most` bytes."""
    try:
        if (size := path.stat().st_size) > most:
            raise FourfoldError(f"{path} has {size >> 20} MB, at most {most >> 20} are read of a file of this kind: it is not what its name says")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise FourfoldError(f"{path} is missing: the layout needs it") from error
    except (OSError, ValueError) as error:
        raise FourfoldError(f"{path} cannot be read ({error}): check it and its permissions") from error


def read_text(path: Path, most: int = MOST_TEXT) -> str:
    """The UTF-8 text of `path`, a byte order mark left out. FourfoldError as for `read_bytes`, or if it is not text."""
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FourfoldError(f"{path} is not text ({error}): write it again") from error


def is_file(path: Path) -> bool:
    """Whether there is a regular file at `path`; False for a name that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def below(folder: Path, name: str) -> Path:
    """The path `name`, as a file lists it, seen from `folder`. Backslashes are separators, as programs on Windows write them."""
    if "\0" in name:
        raise FourfoldError(f"{folder} holds a list with the file name {name!r}, which no file can have: correct it")
    path = Path(name)
    return folder / (path if "\\" not in name or is_file(folder / path) else Path(name.replace("\\", "/")))


class BoundedReader(io.BufferedReader):
    """A file of which no more is asked than there is: a header that promises gigabytes allocates nothing."""

    def __init__(self, path: Path) -> None:
        """Open `path`. OSError if it cannot be opened."""
        super().__init__(io.FileIO(path))
        self.length = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes, the rest of the file without it."""
        left = max(0, self.length - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))
