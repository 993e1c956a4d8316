"""Where supplied files may lie, and what the frames they belong to are called and how large they were filmed.

A folder given by the user (`--priors DIR`) comes before everything else; beside or inside the capture's own folder files are looked for
under their layouts' usual names, also one folder per sequence (`bootstapir/SEQUENCE` beside `images/SEQUENCE`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.frames import IMAGE_SUFFIXES, natural
from fourfold.capture.readers.image_folder import IMAGE_FOLDERS
from fourfold.errors import FourfoldError

FOLDER_FACT = "priors_folder"  # of a capture: the folder that the user gave


@dataclass(frozen=True)
class Filmed:
    """The frames as they were filmed: names (V, T) without suffix ("" where there is none), sizes (V, 2), and whether the lens was straightened."""

    names: tuple[tuple[str, ...], ...]
    sizes: tuple[tuple[int, int], ...]
    straightened: bool


def given_folder(capture: Capture) -> Path | None:
    """The folder with priors that the user gave, or None."""
    folder = capture.facts.get(FOLDER_FACT)
    return Path(folder) if folder else None


def source_path(capture: Capture) -> Path | None:
    """What the capture was read from, where that is still there."""
    source = capture.facts.get("source")
    return Path(source) if source and Path(source).exists() else None


def folders(capture: Capture, given: bool, names: Sequence[str]) -> list[Path]:
    """Existing folders with one of `names` ("" is the place itself): in the folder that the user gave, or in and beside the capture's own.

    A name may hold `*`. Folders of one sequence among several (`NAME/SEQUENCE`) come after `NAME` itself.
    """
    found: list[Path] = []
    for base, only_of_sequence in _bases(capture, given):
        for name in names:
            for folder in [base] if not name else sorted(base.glob(name)):
                places = [folder / s for s in _sequences(capture)] if only_of_sequence else [folder, *(folder / s for s in _sequences(capture))]
                found += [p for p in places if p.is_dir() and p not in found]
    return found


def _bases(capture: Capture, given: bool) -> list[tuple[Path, bool]]:
    """Places to look in, and whether only folders named like the sequence count there (others are of other sequences)."""
    folder, source = given_folder(capture), source_path(capture)
    if given:
        return [(folder, False)] if folder else []
    if source is None:
        return []
    source = source.resolve()
    inside = [(source, False)] if source.is_dir() else []
    alone = source.name in IMAGE_FOLDERS
    return [*inside, (source.parent, not alone), (source.parent.parent, True)]


def _sequences(capture: Capture) -> list[str]:
    source = source_path(capture)
    return [] if source is None else list(dict.fromkeys([source.resolve().stem, source.resolve().name]))


def filmed(capture: Capture) -> Filmed:
    """Names and sizes of the capture's frames as filmed. Frames without file names (of a film) are called by their numbers, 00000, 00001, ..."""
    straightened = bool(capture.facts.get("undistorted", False))
    names, sizes = capture.facts.get("frame_names"), capture.facts.get("sizes_as_filmed")
    if names is None or sizes is None:
        numbers = tuple(f"{t:05d}" for t in range(capture.times))
        return Filmed((numbers,) * capture.views, tuple((int(w), int(h)) for w, h in capture.sizes), straightened)
    return Filmed(tuple(map(tuple, names)), tuple((int(w), int(h)) for w, h in sizes), straightened)


def lone_view(capture: Capture) -> int | None:
    """The only view with training images, or None: most layouts know one camera."""
    views = np.flatnonzero(capture.train.any(axis=1))
    return int(views[0]) if len(views) == 1 else None


def frame_name(path: Path) -> str:
    """The name of the frame that a file belongs to: without its suffix, and without the image's own in COLMAP's `a.jpg.png`."""
    inner = Path(path.stem)
    return inner.stem if inner.suffix.lower() in IMAGE_SUFFIXES else path.stem


def frame_files(folder: Path, suffixes: Sequence[str], capture: Capture, view: int) -> list[Path | None] | None:
    """The file of each of the T moments in `folder`: by the frames' names or, where none has one, by order.

    None if the folder holds no such files. FourfoldError if a training image has no file, or files without names are of another count.
    """
    files = sorted((p for p in folder.iterdir() if p.suffix.lower() in suffixes and p.is_file()), key=lambda p: natural(p.name))
    if not files:
        return None
    names, present = filmed(capture).names[view], np.flatnonzero(capture.present[view])
    by_stem = {frame_name(p): p for p in files}
    wanted = capture.train[view] & capture.present[view]
    if any(name in by_stem for name in names if name):
        found = [by_stem.get(name) if name else None for name in names]
        lacking = [names[t] for t in np.flatnonzero(wanted) if found[t] is None]
        if lacking:
            raise FourfoldError(f"{folder} lacks {len(lacking)} of {int(wanted.sum())} training frames, the first is {lacking[0]}: complete it")
        return found
    if len(files) != len(present):
        raise FourfoldError(f"{folder} holds {len(files)} files for {len(present)} images: give one per image, with the images' names")
    result: list[Path | None] = [None] * capture.times
    for moment, file in zip(present, files, strict=True):
        result[int(moment)] = file
    return result


def holds_frames(folder: Path, suffixes: Sequence[str], capture: Capture, view: int, by_name: bool) -> bool:
    """Whether `folder` has a file with one of `suffixes`; with `by_name` one named like a frame of `view`."""
    names = set(filmed(capture).names[view]) if by_name else set()
    return any(p.suffix.lower() in suffixes and (not by_name or frame_name(p) in names) for p in folder.iterdir())


def to_stored(xy: NDArray[np.floating], size: tuple[int, int], capture: Capture, view: int) -> NDArray[np.float32]:
    """Pixels (..., 2) of the capture's stored images of positions in images of `size` whose pixel centres are whole numbers."""
    scale = np.array(capture.sizes[view], np.float64) / np.array(size, np.float64)
    return ((np.asarray(xy, np.float64) + 0.5) * scale).astype(np.float32)


def intrinsics_to_stored(K: NDArray[np.floating], size: tuple[int, int], capture: Capture, view: int) -> NDArray[np.float64]:
    """(..., 3, 3) intrinsics for the stored images of ones for images of `size` whose pixel centres are whole numbers."""
    scale = np.array(capture.sizes[view], np.float64) / np.array(size, np.float64)
    result = np.array(K, np.float64)
    result[..., :2, 2] += 0.5
    result[..., :2, :] *= scale[:, None]
    return result
