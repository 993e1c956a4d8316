"""Depth as one file per frame: DyCheck's `depth/1x/ID.npy` (H, W, 1) and the like, and MoSca's `*_depth/NAME.npz` with the array `dep`.

Depth runs along the optical axis in scene units (metres in DyCheck; millimetres are recognised by their median where the capture is
metric), 0 is unknown. Source: spec priors_monocular.md sections 3 and 7.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.frames import load_depth
from fourfold.capture.readers.nerfies import depth_unit
from fourfold.errors import FourfoldError
from fourfold.priors.contracts import Depth, Provenance
from fourfold.priors.depth_range import near_far
from fourfold.priors.supplied.layout import Layout, arrays_of, stored_map
from fourfold.priors.supplied.places import folders, frame_files, holds_frames

FOLDERS = ("depth/1x", "depth/2x", "depth/4x", "depth", "depths", "lidar", "")
MOSCA_FOLDERS = ("*_depth", "")


def find(capture: Capture, given: bool, names: tuple[str, ...] = FOLDERS, suffixes: tuple[str, ...] = (".npy",)) -> list[Path]:
    """The first folder with files of the right kind, or with one such folder per view; in a place without a telling name only files named
    like the frames count."""
    trained = np.flatnonzero(capture.train.any(axis=1))
    for name in names:
        for folder in folders(capture, given, (name,)) if name or given else ():
            if len(trained) and all((p := _place(capture, folder, v)) and holds_frames(p, suffixes, capture, v, not name) for v in trained):
                return [folder]
    return []


def read(capture: Capture, files: list[Path]) -> Depth:
    """Depth with confidence 1 where it is known."""
    first = next(p for p in _required(capture, files[0], (".npy",)) if p is not None)
    unit = depth_unit([first]) if capture.metric else 1.0
    return depth_from(capture, files[0], (".npy",), partial(load_depth, scale=unit), "depth files (supplied)")


def read_mosca(capture: Capture, files: list[Path]) -> Depth:
    """MoSca's depth with confidence 1 where it is known."""

    def load(path: Path) -> NDArray[np.float32]:
        dep = arrays_of(path, dep=(None, None))["dep"].astype(np.float32)
        return np.where(np.isfinite(dep) & (dep > 0), dep, 0)

    return depth_from(capture, files[0], (".npz",), load, "mosca depth (supplied)")


def depth_from(capture: Capture, folder: Path, suffixes: tuple[str, ...], load: Callable[[Path], NDArray[np.float32]], provider: str) -> Depth:
    """The `Depth` of one file per frame. `load`: path -> (H, W) float32, 0 unknown."""
    maps = []
    for view in range(capture.views):
        width, height = (int(n) for n in capture.sizes[view])
        stack = np.zeros((capture.times, height, width), np.float32)
        files = _files(capture, folder, view, suffixes) if capture.train[view].any() else None
        for moment in np.flatnonzero(capture.train[view]):
            path = None if files is None else files[moment]
            if path is not None:
                stack[moment] = stored_map(load(path), capture, view, path)
        maps.append(stack)
    confidence = tuple((m > 0).astype(np.float16) for m in maps)
    near, far = near_far(Depth(Provenance(provider), tuple(maps), confidence))
    return Depth(Provenance(provider, figures={"near": near, "far": far, "files": str(folder)}), tuple(maps), confidence)


def _place(capture: Capture, folder: Path, view: int) -> Path | None:
    """The folder of one view's files: `folder` where one camera trains, else the folder in it with the view's name, None if there is none."""
    if int(capture.train.any(axis=1).sum()) == 1:
        return folder
    inner = folder / capture.view_names[view]
    return inner if inner.is_dir() else None


def _files(capture: Capture, folder: Path, view: int, suffixes: tuple[str, ...]) -> list[Path | None] | None:
    place = _place(capture, folder, view)
    return None if place is None else frame_files(place, suffixes, capture, view)


def _required(capture: Capture, folder: Path, suffixes: tuple[str, ...]) -> list[Path | None]:
    view = int(np.flatnonzero(capture.train.any(axis=1))[0])
    files = _files(capture, folder, view, suffixes)
    if files is None:
        raise FourfoldError(f"{folder} holds no {' or '.join(suffixes)} files: give one per image")
    return [files[t] for t in np.flatnonzero(capture.train[view])]


PROVIDERS = (
    *Layout("depth-files", "depth", find, read, several=True).providers(),
    *Layout("mosca", "depth", partial(find, names=MOSCA_FOLDERS, suffixes=(".npz",)), read_mosca, several=True).providers(),
)
