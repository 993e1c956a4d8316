"""When the images of a list were taken: from a file of times beside them, their names, EXIF, or their numbers and a rate."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.untrusted.images import exif_tags

DEFAULT_FPS = 30.0  # of images that say nothing about their times
SLOW = 1.0  # seconds between images from which a list is called a time lapse
TIME_FILES = ("timestamps.txt", "timestamps.csv", "timestamp.txt", "times.txt", "times.csv", "frame_times.txt", "frame_times.csv", "rgb.txt")
LARGEST_TIME_FILE = 1 << 26  # bytes

TAKEN, TAKEN_FRACTION = 0x9003, 0x9291  # EXIF DateTimeOriginal, SubSecTimeOriginal
_EPOCHS = ((1e9, 4e9, 1.0), (1e12, 4e12, 1e-3), (1e15, 4e15, 1e-6), (1e18, 4e18, 1e-9))  # from, to, seconds: the years 2001 to 2096
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "seconds": 1.0}
_DATE = re.compile(r"(20\d\d)[-_.]?([01]\d)[-_.]?([0-3]\d)[-_T .]?([0-2]\d)[-_.:hH]?([0-5]\d)[-_.:mM]?([0-5]\d)(?:\.?(\d{1,6}))?(?!\d)")
_EPOCH = re.compile(r"(?<!\d)(\d{10,19}(?:\.\d+)?)$")
_DECIMAL = re.compile(r"(?<![\dA-Za-z])(\d+\.\d+)$")
FASTEST = 1e-3  # seconds between images; nearer ones are numbers with a point in them (shot.1001), no times
_NUMBERED = re.compile(r"^(.*?)(\d+)(\D*)$")


@dataclass(frozen=True)
class ImageTimes:
    """Times of a list of images.

    Attributes:
        seconds: (N,) float64, increasing, on a clock that lists of other cameras share if they were found in the same way.
        source: "file", "names", "EXIF", "numbers" or "order".
        words: how they are known, for the report; "" where it is the plain order at a rate.
    """

    seconds: NDArray[np.float64]
    source: str
    words: str

    @property
    def clocked(self) -> bool:
        """Whether the times were measured, not counted."""
        return self.source in ("file", "names", "EXIF")


def image_times(paths: Sequence[Path], fps: float | None) -> ImageTimes:
    """Times of `paths`, which are in natural order. A rate that is given counts the images by their numbers and asks nothing else."""
    ways: tuple[Callable[[Sequence[Path]], ImageTimes | None], ...] = (_from_file, _from_names, _from_exif)
    if fps is None and len(paths) > 1:
        for way in ways:
            if (found := way(paths)) is not None:
                return found
    rate = fps or DEFAULT_FPS
    numbers = frame_numbers(paths)
    if numbers is None:
        return ImageTimes(np.arange(len(paths)) / rate, "order", "")
    lost = int(numbers[-1] - numbers[0]) + 1 - len(paths)
    words = f"{lost} numbers are missing between the first and the last image: gaps in time" if lost else ""
    return ImageTimes(numbers / rate, "numbers", words)


def frame_numbers(paths: Sequence[Path]) -> NDArray[np.int64] | None:
    """(N,) numbers in the names over their usual step; None where names are not numbered alike or most steps differ."""
    matches = [_NUMBERED.match(p.stem) for p in paths]
    if len(paths) < 3 or len({(m.group(1), m.group(3)) if m else None for m in matches}) != 1 or matches[0] is None:
        return None
    digits = [m.group(2) for m in matches if m]
    if max(map(len, digits)) > 15:
        return None
    numbers = np.array([int(d) for d in digits], np.int64)
    steps, counts = np.unique(np.diff(numbers), return_counts=True)
    usual = int(steps[counts.argmax()])
    if usual < 1 or counts.max() * 2 < len(numbers) - 1 or steps[0] < 1 or (steps % usual).any():
        return None
    return numbers // usual if numbers[0] % usual == 0 else (numbers - numbers[0]) // usual


def _timed(seconds: NDArray[np.float64], source: str, what: str) -> ImageTimes | None:
    if not np.isfinite(seconds).all() or (np.diff(seconds) <= 0).any():
        return None
    gap = float(np.median(np.diff(seconds)))
    if gap < FASTEST:
        return None
    slow = f", a time lapse with an image every {gap:.3g} s (give the rate at which it shall play if that is too slow)" if gap >= SLOW else ""
    return ImageTimes(seconds, source, f"times from {what}{slow}")


def _from_names(paths: Sequence[Path]) -> ImageTimes | None:
    stems = [p.stem for p in paths]
    for read in (_date, _epoch, _decimal):
        values = [read(stem) for stem in stems]
        known = [v for v in values if v is not None]
        if len(known) == len(stems) and (found := _timed(np.array(known), "names", "the images' names")) is not None:
            return found
    return None


def _date(stem: str) -> float | None:
    if (match := _DATE.search(stem)) is None:
        return None
    try:
        moment = datetime(*(int(g) for g in match.groups()[:6]), tzinfo=UTC)  # type: ignore[arg-type]
    except ValueError:
        return None
    return moment.timestamp() + float(f"0.{match.group(7) or 0}")


def _epoch(stem: str) -> float | None:
    match = _EPOCH.search(stem)
    value = float(match.group(1)) if match else 0.0
    return next((value * unit for begin, end, unit in _EPOCHS if begin <= value < end), None)


def _decimal(stem: str) -> float | None:
    match = _DECIMAL.search(stem)
    return float(match.group(1)) if match else None


def _from_exif(paths: Sequence[Path]) -> ImageTimes | None:
    """Moments of taking. Whole seconds that repeat give the mean rate of a burst instead."""
    if _taken(paths[0]) is None or _taken(paths[-1]) is None:
        return None
    values = [_taken(p) for p in paths]
    if any(v is None for v in values):
        return None
    seconds = np.array(values, np.float64)
    if (found := _timed(seconds, "EXIF", "EXIF")) is not None:
        return found
    span = float(seconds[-1] - seconds[0])
    if (np.diff(seconds) < 0).any() or span < 2 or (np.diff(seconds) > 1.5).any() or (seconds % 1).any():
        return None
    rate = (len(seconds) - 1) / span
    return ImageTimes(seconds[0] + np.arange(len(seconds)) / rate, "EXIF", f"a burst at {rate:.3g} images per second, by EXIF's whole seconds")


def _taken(path: Path) -> float | None:
    tags = exif_tags(path)
    try:
        moment = datetime.strptime(str(tags.get(TAKEN, "")).strip("\0 "), "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    fraction = str(tags.get(TAKEN_FRACTION, "")).strip("\0 ")
    return moment.timestamp() + (float(f"0.{fraction}") if fraction.isdecimal() else 0.0)


def _from_file(paths: Sequence[Path]) -> ImageTimes | None:
    folder = paths[0].parent
    for file in (f / name for f in (folder, folder.parent) for name in TIME_FILES):
        if file.is_file() and file.stat().st_size <= LARGEST_TIME_FILE and (values := _listed(file, paths)) is not None:
            return _timed(values, "file", file.name)
    return None


def _listed(file: Path, paths: Sequence[Path]) -> NDArray[np.float64] | None:
    """Seconds of `paths` in a file of one time per line, with or without the image's name beside it; None if it is of other images."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    rows = [row for line in text.splitlines() if (row := next(csv.reader([re.sub(r"[,;\s]+", ",", line.strip().strip(","))]), []))]
    unit, column, named, plain = None, None, dict[str, str](), list[list[str]]()
    for row in rows:
        values = [w for w in row if _number(w) is not None]
        names = [w for w in row if _number(w) is None]
        if row[0].startswith("#") or not values:
            unit = next((_UNITS[u] for w in row for u in re.split(r"[^a-zµ]+", w.lower()) if u in _UNITS), unit)
            column = next((i for i, w in enumerate(row) if "time" in w.lower()), None) if not row[0].startswith("#") else column
            continue
        time = values[0] if column is None or column >= len(row) or _number(row[column]) is None else row[column]
        plain.append([time] if column is not None else values)
        if names:
            named[Path(names[0]).name] = named[Path(names[0]).stem] = time
    listed = [named.get(p.name, named.get(p.stem)) for p in paths]
    chosen = [w for w in listed if w is not None]
    if len(chosen) != len(paths):
        chosen = [row[_counted(plain)] for row in plain]
    if len(chosen) != len(paths):
        return None
    values = np.array([float(w) for w in chosen])
    return values * (unit or _unit(values, any("." in w for w in chosen)))


def _counted(rows: Sequence[Sequence[str]]) -> int:
    """The column of the times in rows of numbers without a header: the second where the first only counts the rows."""
    first = [float(row[0]) for row in rows]
    counts = len(rows) > 1 and all(b - a == 1 for a, b in pairwise(first)) and first[0] in (0, 1)
    return 1 if counts and min(len(row) for row in rows) > 1 else 0


def _unit(values: NDArray[np.float64], decimal: bool) -> float:
    """Seconds per unit of times whose file names none: of an epoch by its size, of decimals a second, else by the usual gap."""
    for begin, end, unit in _EPOCHS:
        if begin <= values[0] < end:
            return unit
    gap = float(np.median(np.diff(values)))
    if decimal and gap < 8:
        return 1.0
    return 1e-9 if gap >= 4e6 else 1e-6 if gap >= 4e3 else 1e-3 if gap >= 8 else 1.0


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
