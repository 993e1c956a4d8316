"""JSON files of data sets, read with an error that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError


def load(path: Path) -> Any:
    """What `path` holds. FourfoldError if it is missing or is not JSON."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise FourfoldError(f"{path} is missing: the layout needs it") from error
    except (OSError, ValueError) as error:
        raise FourfoldError(f"{path} is not valid JSON ({error}): correct it") from error


def numbers(value: Any, shape: tuple[int, ...], where: str) -> NDArray[np.float64]:
    """`value` as a float64 array of `shape`. FourfoldError that names `where` if it is something else."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise FourfoldError(f"{where} is not an array of numbers") from error
    if array.shape != shape:
        raise FourfoldError(f"{where} has shape {array.shape}, expected {shape}")
    return array


def entry(record: Any, key: str, where: Path | str) -> Any:
    """`record[key]`. FourfoldError that names the file and the key if it is not there."""
    if not isinstance(record, dict) or key not in record:
        raise FourfoldError(f"{where} has no entry {key!r}: the layout needs it")
    return record[key]
