"""Whose a run's folder is: its `config.json`, and what a run that was killed left beside it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from fourfold.errors import FourfoldError
from fourfold.files import read_object, read_stamp
from fourfold.interruption import sweep
from fourfold.notices import fallback
from fourfold.owner import OWNER_FILE


def claim(root: Path, key: str) -> dict[str, Any]:
    """The config of the run in `root`, empty if it is a new one. FourfoldError if it holds another capture's run or something else.

    One that is damaged or missing is written again where the prepared capture is the one that is asked for.
    """
    ours = read_stamp(root / "capture").get("key") == key
    try:
        config = read_config(root)
    except FourfoldError:
        if not ours:
            raise
        config = {}
    if config.get("capture_key", key) != key:
        raise FourfoldError(f"{root} holds a run of {', '.join(config['sources'])} with other settings: choose another output folder or delete it")
    if not config and root.exists() and not (root.is_dir() and all(_may_be_there(p) for p in root.iterdir())):
        if not ours:
            raise FourfoldError(f"{root} exists and is not a run of fourfold: choose another output folder")
        fallback(f"{root / 'config.json'} is damaged or missing: it is written again")
    sweep()
    for unfinished in [*root.glob("**/.*.part"), *root.glob(".capture.*")]:  # of a run that was killed
        if unfinished.is_dir() and not unfinished.name.endswith(".frames.part"):  # finished frames of a prior serve again
            shutil.rmtree(unfinished, ignore_errors=True)
        elif unfinished.is_file():
            unfinished.unlink(missing_ok=True)
    return config


def _may_be_there(path: Path) -> bool:
    """Whether a folder without `config.json` that holds `path` may still become a run: what a killed beginning leaves."""
    return path.name == "capture" or path.name.startswith(".capture.") or of_owner(path)


def of_owner(path: Path) -> bool:
    """Whether `path` is the lock of a process that works on the run."""
    return path.name.startswith(OWNER_FILE)


def read_config(root: Path) -> dict[str, Any]:
    """What `root/config.json` holds, empty if there is none. FourfoldError if it is damaged."""
    try:
        return read_object(root / "config.json")
    except (FileNotFoundError, NotADirectoryError):
        return {}
