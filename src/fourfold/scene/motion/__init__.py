"""Motion models, one file each. A new model is a new file: nothing else learns its name."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import is_dataclass
from functools import cache
from typing import Any


@cache
def motion_kinds() -> dict[str, type[Any]]:
    """Every motion model in this folder by its `kind`: the frozen dataclasses that define a `kind` and an `at`."""
    found: dict[str, type[Any]] = {}
    for module_info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        for value in vars(module).values():
            if (
                isinstance(value, type)
                and value.__module__ == module.__name__
                and is_dataclass(value)
                and hasattr(value, "kind")
                and hasattr(value, "at")
            ):
                found[value.kind] = value
    return found
