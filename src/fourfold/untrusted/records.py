"""Objects of JSON, TOML and YAML files whose entries are asked for by name and kind: what is not of that kind gets a sentence."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError
from fourfold.untrusted.files import read_text

LARGEST_WHOLE = 2**53  # beyond it a double no longer counts
MOST_LISTED = 10_000_000  # entries of one list


@dataclass(frozen=True)
class Record:
    """An object of a file and where it stands there.

    Attributes:
        value: its entries.
        where: the file and the place in it, in words, for messages.
    """

    value: dict[str, Any]
    where: str

    def has(self, key: str) -> bool:
        """Whether there is an entry `key` that is not null."""
        return self.value.get(key) is not None

    def first(self, *keys: str) -> str | None:
        """The first of `keys` that has an entry."""
        return next((key for key in keys if self.has(key)), None)

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number. FourfoldError if it is something else, or not there and without a default."""
        return number(self._entry(key, default), f"{self.where}: {key}")

    def positive(self, key: str, default: float | None = None) -> float:
        """A number above 0."""
        found = self.number(key, default)
        if found <= 0:
            raise FourfoldError(f"{self.where}: {key} is {found:g}, expected a number above 0: correct it")
        return found

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number, also one written as text or with a point."""
        return whole(self._entry(key, default), f"{self.where}: {key}")

    def text(self, key: str, default: str | None = None) -> str:
        """Text. FourfoldError if it is something else, or not there and without a default."""
        found = self._entry(key, default)
        if not isinstance(found, str):
            raise FourfoldError(f"{self.where}: {key} is {short(found)}, expected text: correct it")
        return found

    def label(self, key: str, default: str | None = None) -> str:
        """A name that may be written as text or as a whole number."""
        found = self._entry(key, default)
        return found if isinstance(found, str) else str(whole(found, f"{self.where}: {key}"))

    def array(self, key: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """An array of numbers of `shape`; they may be NaN or infinite."""
        return numbers(self._entry(key, None), shape, f"{self.where}: {key}")

    def size(self, key: str) -> tuple[int, int]:
        """Width and height of an image, two numbers of 1 or more."""
        width, height = self.array(key, (2,)).tolist()
        if not (1 <= width <= LARGEST_WHOLE and 1 <= height <= LARGEST_WHOLE):
            raise FourfoldError(f"{self.where}: {key} is {width:g} x {height:g}, expected width and height in pixels: correct it")
        return round(width), round(height)

    def values(self, key: str, most: int = 64) -> list[float]:
        """Up to `most` finite numbers, nested lists flattened; none if there is no entry."""
        return flat(self.value.get(key), most, f"{self.where}: {key}")

    def listed(self, key: str) -> list[Any]:
        """A list. FourfoldError if it is something else or not there."""
        return as_list(self._entry(key, None), f"{self.where}: {key}")

    def record(self, key: str) -> Record:
        """An object. FourfoldError if it is something else or not there."""
        return as_record(self._entry(key, None), f"{self.where}: {key}")

    def records(self, key: str, called: str) -> Iterator[Record]:
        """The objects of a list, each `called` by its number in messages."""
        for at, item in enumerate(self.listed(key)):
            yield as_record(item, f"{self.where}: {called} {at}")

    def _entry(self, key: str, default: Any) -> Any:
        found = self.value.get(key)
        if found is not None:
            return found
        if default is None:
            raise FourfoldError(f"{self.where} has no entry {key!r}: the layout needs it")
        return default


def load_json(path: Path) -> Any:
    """What `path` holds. FourfoldError if it is missing or is not JSON."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise FourfoldError(f"{path} is not valid JSON ({error}): correct it") from error


def load_record(path: Path) -> Record:
    """The object in the JSON file `path`. FourfoldError if it is missing or holds something else."""
    return as_record(load_json(path), str(path))


def load_toml(path: Path) -> Record:
    """The tables of a TOML file. FourfoldError if it is missing or damaged."""
    try:
        return Record(tomllib.loads(read_text(path)), str(path))
    except (ValueError, RecursionError) as error:
        raise FourfoldError(f"{path} is not valid TOML ({error}): correct it") from error


def as_record(value: Any, where: str) -> Record:
    """`value` as an object. FourfoldError if it is something else."""
    if not isinstance(value, dict):
        raise FourfoldError(f"{where} is {short(value)}, expected an object with named entries: correct it")
    return Record(cast(dict[str, Any], value), where)


def as_list(value: Any, where: str) -> list[Any]:
    """`value` as a list. FourfoldError if it is something else."""
    if not isinstance(value, list):
        raise FourfoldError(f"{where} is {short(value)}, expected a list: correct it")
    return cast(list[Any], value)


def number(value: Any, where: str) -> float:
    """`value`, a number or one written as text, finite. FourfoldError if it is something else."""
    try:
        found = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise FourfoldError(f"{where} is {short(value)}, expected a number: correct it")
    return found


def whole(value: Any, where: str) -> int:
    """`value` as a whole number. FourfoldError if it is something else."""
    found = number(value, where)
    if found != int(found) or abs(found) > LARGEST_WHOLE:
        raise FourfoldError(f"{where} is {short(value)}, expected a whole number: correct it")
    return int(found)


def whole_or_none(value: Any) -> int | None:
    """`value` as a whole number, None if it is something else."""
    try:
        return whole(value, "")
    except FourfoldError:
        return None


def numbers(value: Any, shape: tuple[int, ...], where: str) -> NDArray[np.float64]:
    """`value`, nested lists of numbers, as a float64 array of `shape`. FourfoldError if it is something else."""
    leaves: list[Any] = [value]
    for at, length in enumerate(shape):
        if any(not isinstance(item, list) or len(cast(list[Any], item)) != length for item in leaves):
            got = " x ".join(str(n) for n in shape[:at]) or "it"
            raise FourfoldError(f"{where} is {short(value)}, expected {' x '.join(map(str, shape))} numbers ({got} is as it should be): correct it")
        leaves = [entry for item in leaves for entry in item]
    try:
        found = [float(leaf) for leaf in leaves if isinstance(leaf, int | float) and not isinstance(leaf, bool)]
    except OverflowError:
        found = []
    if len(found) != len(leaves):
        raise FourfoldError(f"{where} holds something that is not a number: correct it")
    return np.array(found, np.float64).reshape(shape)


def flat(value: Any, most: int, where: str) -> list[float]:
    """Up to `most` finite numbers of a number or nested lists of them; none of None. FourfoldError if there are more or something else."""
    found: list[float] = []
    open_ = [value] if value is not None else []
    steps = 0
    while open_:
        item, steps = open_.pop(), steps + 1
        if steps > 8 * most + 8:
            raise FourfoldError(f"{where} holds more than {most} numbers: correct it")
        if isinstance(item, list):
            open_ += reversed(cast(list[Any], item)[: most + 1])
        else:
            found.append(number(item, where))
    if len(found) > most:
        raise FourfoldError(f"{where} holds more than {most} numbers: correct it")
    return found


def short(value: Any) -> str:
    """`value` in a few words, for a message."""
    if value is None:
        return "missing"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        length = len(cast(list[Any], value))
        return f"a list of {length}" if length else "an empty list"
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
