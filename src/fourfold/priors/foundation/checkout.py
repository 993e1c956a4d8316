"""Modules of research repositories: imported when first used, beside each other although several call their top folder `models` or `utils`."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import torch

from fourfold.errors import FourfoldError


@cache
def research_module(name: str, *top_level: str) -> ModuleType:
    """Module `name` of a package that the user installed or whose folder is on the Python path.

    Args:
        top_level: names of top-level packages of the repository that other repositories use too. The first is looked for as the start of
            `name`; modules of these names from other folders make room (who imported them earlier keeps them).

    Importing leaves torch's random state as it was. FourfoldError if it cannot be imported.
    """
    home = _home(name) if top_level else None
    if home is not None:
        for known in [m for m in sys.modules if m.partition(".")[0] in top_level and not _below(sys.modules[m], home)]:
            del sys.modules[known]
        sys.path.insert(0, str(home))
    try:
        with torch.random.fork_rng(devices=[]):
            return importlib.import_module(name)
    except ImportError as error:
        raise FourfoldError(f"{name} cannot be imported ({error}): install what its repository asks for") from error
    finally:
        if home is not None:
            sys.path.remove(str(home))


def _home(name: str) -> Path | None:
    """The folder on the Python path that holds the module `name`."""
    inner = Path(*name.split("."))
    folders = [Path(folder) for folder in sys.path]
    return next((f for f in folders if (f / inner).with_suffix(".py").is_file() or (f / inner / "__init__.py").is_file()), None)


def _below(module: ModuleType, home: Path) -> bool:
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
    return any(place and Path(place).is_relative_to(home) for place in places)
