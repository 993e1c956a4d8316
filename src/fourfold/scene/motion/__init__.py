"""Motion models, one file each. A new model is a new file: nothing else learns its name."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any


@cache
def motion_kinds() -> dict[str, type[Any]]:
    """Every motion model in this folder by its `kind`: the frozen dataclasses that define a `kind` and an `at`."""
    found: dict[str, type[Any]] = {}
    for module_info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        classes = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__]
        found |= {vars(value)["kind"]: value for value in classes if "kind" in vars(value) and hasattr(value, "at")}
    return found
