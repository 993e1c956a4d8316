"""A manifest: which captures a batch reconstructs, where, and with which options.

JSON or TOML with `captures`, a list of objects with `paths` and, if wanted, `name` and any option of `reconstruct` by its name in
`Options` (`quality`, `holdout`, ...); `defaults` holds options for all. Or plain text: one path a line, # begins a comment.
Paths are taken from the manifest's folder.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fourfold.errors import FourfoldError
from fourfold.options import Options, command_line

_NAME = re.compile(r"[\w.+-]+")
_FIELDS = {f.name: f for f in fields(Options)}


@dataclass(frozen=True)
class Job:
    """One capture of a batch.

    Attributes:
        name: of the run's folder within the batch's folder.
        paths: what `reconstruct` reads.
        out: the run's folder.
        options: how to reconstruct.
    """

    name: str
    paths: tuple[Path, ...]
    out: Path
    options: Options

    @property
    def words(self) -> list[str]:
        """The arguments of `fourfold` that do this job."""
        return shlex.split(command_line(self.paths, self.out, self.options))[1:]


def read_manifest(file: Path, out: Path) -> list[Job]:
    """The jobs of the manifest `file`, their runs below the folder `out`, in the manifest's order.

    Raises:
        FourfoldError: the file is missing, damaged, names an option that is not there or a path that is not, or two runs share a name.
    """
    defaults, entries = _entries(file)
    if not entries:
        raise FourfoldError(f"{file} lists no capture: give at least one path")
    jobs = [_job(file, number, entry, defaults, out) for number, entry in enumerate(entries, 1)]
    names = [job.name for job in jobs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise FourfoldError(f"{file} has two captures called {twice!r}: give each a `name` of its own")
    return jobs


def _entries(file: Path) -> tuple[dict[str, Any], list[Any]]:
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix.lower() == ".toml":
            value: Any = tomllib.loads(text)
        elif file.suffix.lower() == ".json":
            value = json.loads(text)
        else:
            lines = [line.partition("#")[0].strip() for line in text.splitlines()]
            return {}, [{"paths": [line]} for line in lines if line]
    except ValueError as error:
        raise FourfoldError(f"the manifest {file} cannot be read ({error}): give JSON, TOML, or text with one path a line") from error
    value = {"captures": value} if isinstance(value, list) else value
    if not isinstance(value, dict) or not isinstance(value.get("captures"), list) or not isinstance(value.get("defaults", {}), dict):
        raise FourfoldError(f"the manifest {file} has no list `captures` (or its `defaults` are no table): see `fourfold batch --help`")
    return value.get("defaults", {}), value["captures"]


def _job(file: Path, number: int, entry: Any, defaults: Mapping[str, Any], out: Path) -> Job:
    where = f"capture {number} of {file}"
    entry = {"paths": [entry]} if isinstance(entry, str) else entry
    if not isinstance(entry, dict):
        raise FourfoldError(f"{where} is neither a path nor a table with `paths`: correct it")
    paths = entry.get("paths")
    paths = [paths] if isinstance(paths, str) else paths
    if not isinstance(paths, list) or not paths or not all(isinstance(p, str) and p for p in paths):
        raise FourfoldError(f"{where} names no `paths`: give a path or a list of paths")
    found = tuple((file.parent / p).resolve() for p in paths)
    missing = next((p for p in found if not p.exists()), None)
    if missing is not None:
        raise FourfoldError(f"{where} names {missing}, which is not there: correct the path (it is taken from the manifest's folder)")
    name = str(entry.get("name") or found[0].stem)
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise FourfoldError(f"{where} is called {name!r}: a name has letters, digits and . _ + - only; give it a `name`")
    return Job(name, found, out / name, _options(where, {**defaults, **{k: v for k, v in entry.items() if k not in ("paths", "name")}}))


def _options(where: str, given: Mapping[str, Any]) -> Options:
    for name, value in given.items():
        field = _FIELDS.get(name)
        if field is None:
            raise FourfoldError(f"{where} has an option {name!r} that `reconstruct` does not have: choose among {', '.join(_FIELDS)}")
        wanted = str(field.type)
        good = (
            isinstance(value, bool)
            if wanted == "bool"
            else not isinstance(value, bool) and isinstance(value, int | float)
            if "float" in wanted or "int" in wanted
            else isinstance(value, str)
        )
        if not (good or (value is None and "None" in wanted)):
            raise FourfoldError(f"{where} gives {name} = {value!r}: expected {wanted}")
    return Options(**given)
