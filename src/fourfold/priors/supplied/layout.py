"""What a reader of supplied files is made of: how its files are found, and how they become a prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.ingest import resized
from fourfold.errors import FourfoldError
from fourfold.notices import fallback
from fourfold.priors.contracts import Prior, Priors
from fourfold.priors.providers import Provider
from fourfold.priors.supplied.places import filmed, folders, given_folder, lone_view
from fourfold.untrusted.arrays import archive_names, load_archive, load_array

GIVEN_RANK, BESIDE_RANK = 2000, 500  # what the user named beats the capture's own, what merely lies beside it beats what is estimated
ASPECT = 0.02  # relative difference of the side ratios above which images are of something else


@dataclass(frozen=True)
class Layout:
    """One layout of supplied files that gives one prior.

    Attributes:
        name: how the report calls it.
        prior: the prior it gives.
        find: (capture, in the user's folder or beside the capture) -> its files or folders, [] where there are none. Looks at names and headers.
        read: (capture, what `find` gave) -> the prior. FourfoldError, in one sentence, for files that are damaged or of another capture.
        several: whether it serves captures with several training cameras.
        straight: whether its numbers are pixels of the images as filmed, so that it cannot serve where a lens was straightened.
    """

    name: str
    prior: str
    find: Callable[[Capture, bool], list[Path]]
    read: Callable[[Capture, list[Path]], Prior]
    several: bool = False
    straight: bool = True

    def providers(self) -> tuple[Provider, Provider]:
        """The provider for a folder that the user gave, and the one for files that lie in or beside the capture."""
        return self._provider(True), self._provider(False)

    def _provider(self, given: bool) -> Provider:
        def missing(capture: Capture) -> str | None:
            if (lone_view(capture) is None and not self.several) or not self.find(capture, given):
                return ""
            if self.straight and filmed(capture).straightened:
                return f"the images were straightened on reading and {self.find(capture, given)[0]} is of the images as filmed"
            return None

        def make(capture: Capture, _: Priors) -> list[Prior]:
            return [self.read(capture, self.find(capture, given))]

        def inputs(capture: Capture) -> list[tuple[str, int, int]]:
            return [stamp for path in self.find(capture, given) for stamp in _stamps(path)]

        name = f"{self.name}-{self.prior}" + ("" if given else "-beside")
        return Provider(name, (self.prior,), (), GIVEN_RANK if given else BESIDE_RANK, missing, make, 1, inputs)


def _stamps(path: Path) -> list[tuple[str, int, int]]:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files]


def archives(capture: Capture, given: bool, keys: tuple[str, ...], names: tuple[str, ...], pattern: str = "*.npz") -> list[Path]:
    """The first `.npz` file that holds all of `keys`, among those like `pattern` in the folders `names`, as a list; [] if there is none.

    Beside a capture only files count that lie in its own folder or begin with its name. A file that cannot be opened is passed over, and said.
    """
    own = str(capture.facts.get("source", ""))
    for folder in folders(capture, given, names) if given else folders(capture, given, [n for n in names if n]) + _own(capture):
        for path in sorted(folder.glob(pattern)):
            if not given and folder.resolve() == Path(own).resolve().parent and not path.name.startswith(Path(own).stem):
                continue
            try:
                if set(keys) <= set(archive_names(path)):
                    return [path]
            except FourfoldError as error:
                if given:
                    raise
                fallback(str(error))
    return []


def _own(capture: Capture) -> list[Path]:
    """The capture's own folder, or the folder of its file."""
    source = Path(str(capture.facts.get("source", "")))
    return [source if source.is_dir() else source.parent] if capture.facts.get("source") and source.exists() else []


def arrays_of(path: Path, **shapes: tuple[int | None, ...]) -> dict[str, NDArray[Any]]:
    """Arrays of a `.npz` file. FourfoldError if one is missing, damaged, of another shape (None is any size), or holds Python objects."""
    return load_archive(path, shapes)


def array_of(path: Path, shape: tuple[int | None, ...] | None = None) -> NDArray[Any]:
    """The array of a `.npy` file; errors as for `arrays_of`."""
    return load_array(path, shape)


def finite(array: NDArray[Any], what: str) -> NDArray[Any]:
    """`array`. FourfoldError if a number of it is not finite."""
    if not np.isfinite(array).all():
        raise FourfoldError(f"{what} holds a number that is not finite: write it again")
    return array


def stored_map(image: NDArray[Any], capture: Capture, view: int, what: object) -> NDArray[Any]:
    """A map (H, W) of labels or depth at the stored size, picked at pixel centres. FourfoldError if its sides have another ratio."""
    width, height = (int(n) for n in capture.sizes[view])
    wide, high = filmed(capture).sizes[view]
    if image.ndim != 2 or 0 in image.shape or abs(image.shape[1] * high / (image.shape[0] * wide) - 1) > ASPECT:
        got = "x".join(str(n) for n in image.shape[1::-1])
        raise FourfoldError(f"{what} is {got}, the images are {wide}x{high}: it belongs to other images")
    return resized(image, (width, height), nearest=True)


def recognised(capture: Capture) -> list[str]:
    """Which layouts the folder that the user gave holds: "prior from layout" each; [] without such a folder."""
    from fourfold.priors.providers import all_providers

    if given_folder(capture) is None:
        return []
    supplied = [p for p in all_providers() if p.rank == GIVEN_RANK]
    return [f"{p.makes[0]} ({p.name})" for p in supplied if p.missing(capture) != ""]
