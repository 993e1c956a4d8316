"""What every command is made of: options from a dataclass, a result, and what it prints.

A command is one file in `commands/` with one subclass of `Command`; its fields are the options, their docstrings the help:

    @dataclass(frozen=True, kw_only=True)
    class Hello(Command):
        \"\"\"Greet somebody.\"\"\"

        name: Positional[str]
        \"\"\"Who is greeted.\"\"\"

        def run(self) -> Result:
            return Result({"greeting": f"hello {self.name}"})

The file name is the command's name (`_` becomes `-`), a folder is a group (`commands/bench/rasterizer.py` is `fourfold bench rasterizer`),
and the first line of the file's docstring is its line in `fourfold --help`. Heavy imports belong inside `run`.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Result:
    """What a command found.

    Attributes:
        value: a mapping or a dataclass; `--json` prints it, so it is data, not prose.
        ok: False makes the exit code 1: the command ran, and what it found is bad.
    """

    value: Any
    ok: bool = True


@dataclass(frozen=True, kw_only=True)
class Command(ABC):
    """Base of all commands: the options they share, and how they are run and shown."""

    json: bool = False
    """Print one JSON object on stdout and nothing else there."""

    @abstractmethod
    def run(self) -> Result:
        """Do the work. Only `FourfoldError` is a user's mistake (exit code 2); any other exception is ours (exit code 1)."""

    def show(self, result: Result) -> None:
        """Print `result` for a person on stdout; a command with something better to show overrides this."""
        print("\n".join(outline(jsonable(result.value))))


def jsonable(value: Any) -> Any:
    """`value` as JSON can hold it: dataclasses and mappings become objects, arrays and tensors lists, NaN and infinities null."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: jsonable(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, Enum):
        return jsonable(value.value)
    to_list = getattr(value, "tolist", None)  # numpy arrays and scalars, torch tensors
    if to_list is not None:
        return jsonable(to_list())
    if isinstance(value, Sequence | set | frozenset):
        return [jsonable(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


def dump(value: Any) -> str:
    """`value` as one JSON object on one line."""
    return json.dumps(jsonable(value), allow_nan=False, ensure_ascii=False)


def outline(value: Any, indent: str = "") -> list[str]:
    """Lines `name: value` of a JSON-able object, nested by two spaces; the plain way to show a result."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [line for item in value for line in _item(item, indent)]
    if not isinstance(value, dict):
        return [f"{indent}{_plain(value)}"]
    width = max((len(key) for key in value), default=0)
    lines: list[str] = []
    for key, item in value.items():
        nested = isinstance(item, dict) or (isinstance(item, list) and any(isinstance(i, dict) for i in item))
        if nested and item:
            lines += [f"{indent}{key}:", *outline(item, indent + "  ")]
        else:
            lines.append(f"{indent}{key:<{width}}  {_plain(item)}")
    return lines


def _item(item: Any, indent: str) -> list[str]:
    if isinstance(item, dict) and not any(isinstance(i, dict | list) for i in item.values()):
        return [indent + "  ".join(f"{key}={_plain(i)}" for key, i in item.items())]
    return outline(item, indent)


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(f"({_plain(item)})" if isinstance(item, list) else _plain(item) for item in value) or "-"
    return str(value) if value != {} else "-"
