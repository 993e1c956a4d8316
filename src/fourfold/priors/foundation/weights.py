"""Where learned weights lie: an explicit folder, our own cache, or the caches of the Hugging Face hub and of torch hub. Nothing is fetched here."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fourfold.errors import FourfoldError
from fourfold.priors.foundation.weights_table import MODELS, Model

if TYPE_CHECKING:
    from torch import Tensor

FOLDER_VARIABLE = "FOURFOLD_WEIGHTS"


def model(name: str) -> Model:
    """The row of `name`. FourfoldError if no model is called so."""
    for row in MODELS:
        if row.name == name:
            return row
    raise FourfoldError(f"there is no model {name!r}: `fourfold weights list` shows all of them")


def locate(name: str) -> Path | None:
    """Where the weights of `name` lie: the file if there is one, the folder that holds all files if there are several, None if not here.

    Asked in this order: `$FOURFOLD_WEIGHTS`, our cache, the Hugging Face hub cache, torch hub's checkpoints. In the first two a file may lie
    flat or in a folder of the model's name.
    """
    row = model(name)
    return next((found for folder in _folders(row) if (found := _inside(folder, row))), None)


def require(name: str) -> Path:
    """As `locate`. FourfoldError in one sentence if the weights or the package they need are not here."""
    path, row = locate(name), model(name)
    if path is None:
        raise FourfoldError(f"the weights {name} are not here: get them with `fourfold weights get {name}` or put them below {own_cache()}")
    if not _installed(row.package):
        raise FourfoldError(f"the weights {name} need the package {row.package}, which is not installed: {row.install}")
    return path


def absent(name: str) -> str | None:
    """None if the weights are here, else the sentence that says how to get them."""
    return None if locate(name) else f"the weights {name} are not here: get them with `fourfold weights get {name}`"


def missing(*names: str) -> str | None:
    """What a provider's `missing` answers that can work with any of the models `names`.

    Returns:
        None if one of them is here with its package; "" if the user keeps no weights for us at all (a run without weights is
        not a fallback worth a sentence); or what is not here, in a few words that are the same for all models without weights, so that
        they share one line.
    """
    here = [row for row in map(model, names) if locate(row.name)]
    if any(_installed(row.package) for row in here):
        return None
    if here:
        return f"its weights are here, but the package {here[0].package} is not: {here[0].install}"
    return "weights not here, see `fourfold weights list`" if keeps_weights() else ""


def first_here(*names: str) -> str:
    """The first of the models `names` that is here with its package. FourfoldError (about the first one) if none is."""
    for name in names:
        if locate(name) and _installed(model(name).package):
            return name
    require(names[0])
    return names[0]


def keeps_weights() -> bool:
    """Whether the user ever gave us weights: something lies in `$FOURFOLD_WEIGHTS` or in our cache. Other tools' caches do not count."""
    return any(folder.is_dir() and any(folder.iterdir()) for folder in _own_folders())


def own_cache() -> Path:
    """The folder `fourfold weights get` writes to: `$FOURFOLD_WEIGHTS` if set, else `fourfold/weights` in the XDG cache."""
    return _own_folders()[0]


def load_state(path: Path) -> dict[str, Tensor]:
    """The tensors in a `.safetensors` or a torch file; no code in it is ever run. FourfoldError if it is damaged or not such a file."""
    from pickle import UnpicklingError

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, SafetensorError, UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise FourfoldError(f"the weights {path} cannot be read ({reason}): delete the file and get it again") from error
    if not isinstance(state, dict):
        raise FourfoldError(f"the weights {path} hold a {type(state).__name__} instead of named tensors: get the file again")
    return state


def _own_folders() -> list[Path]:
    given = os.environ.get(FOLDER_VARIABLE)
    cache = _cache_home() / "fourfold" / "weights"
    return [Path(given).expanduser(), cache] if given else [cache]


def _folders(row: Model) -> Iterator[Path]:
    for folder in _own_folders():
        yield folder / row.name
        yield folder
    if row.hub:
        yield from _hub_snapshots(row.hub)
    torch_home = os.environ.get("TORCH_HOME")
    yield (Path(torch_home) if torch_home else _cache_home() / "torch") / "hub" / "checkpoints"


def _hub_snapshots(hub: str) -> Iterator[Path]:
    """Snapshots of the hub repository `hub` on this machine, the one `main` points to first (layout of huggingface_hub's cache)."""
    home = Path(os.environ.get("HF_HOME") or _cache_home() / "huggingface")
    repository = Path(os.environ.get("HF_HUB_CACHE") or home / "hub") / f"models--{hub.replace('/', '--')}"
    snapshots, main = repository / "snapshots", repository / "refs" / "main"
    if main.is_file():
        yield snapshots / main.read_text().strip()
    if snapshots.is_dir():
        yield from sorted(snapshots.iterdir())


def _inside(folder: Path, row: Model) -> Path | None:
    """The file, or the folder, if `folder` holds all files of `row`; a lone config.json in a shared folder is nobody's."""
    first, *others = row.files
    if others:
        return folder if all(any((folder / name).is_file() for name in file.names) for file in row.files) and folder not in _own_folders() else None
    return next((folder / name for name in first.names if (folder / name).is_file()), None)


def _installed(package: str) -> bool:
    """Whether `package` can be imported; one with a slash is a file of a repository that is no package, looked for on the Python path."""
    if "/" in package:
        return any((Path(folder) / package).is_file() for folder in sys.path)
    return not package or importlib.util.find_spec(package) is not None


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
