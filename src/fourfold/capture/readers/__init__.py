"""One file per layout; each offers `READER`. A new layout is a new file in this folder."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from fourfold.capture.source import Reader


@cache
def readers() -> tuple[Reader, ...]:
    """All readers, the most special layouts first."""
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    found = [module.READER for module in modules if hasattr(module, "READER")]
    return tuple(sorted(found, key=lambda reader: (reader.rank, reader.layout)))
