"""One file per layout that can be written; each offers `WRITERS`. A new layout is a new file in this folder."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from fourfold.capture.writers.writer import Writer
from fourfold.errors import FourfoldError


@cache
def writers() -> tuple[Writer, ...]:
    """All writers, by name."""
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    return tuple(sorted((w for module in modules for w in getattr(module, "WRITERS", ())), key=lambda w: w.name))


def find_writer(name: str) -> Writer:
    """The writer called `name`. FourfoldError naming all of them if there is none."""
    for writer in writers():
        if writer.name == name.lower():
            return writer
    raise FourfoldError(f"there is no layout {name!r} to convert to: choose one of {', '.join(w.name for w in writers())}")
