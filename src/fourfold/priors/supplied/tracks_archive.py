"""Image tracks in one `.npz`: CoTracker's (`tracks` or `pred_tracks` (T, N, 2) or (1, T, N, 2), `visibility` or `pred_visibility` (T, N))
and MoSca's `*_tap.npz` (the same, a third column of `tracks` is a depth and is left out).

Positions are pixels with centres at whole numbers, of `video` (T, H, W, 3) if the file holds it and of the images as filmed otherwise.
`visibility` is yes or no, or a probability. `queries` (N, 3) = (t, x, y) is optional. Source: spec priors_monocular.md section 4.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.priors.contracts import Provenance, Tracks2D
from fourfold.priors.supplied.layout import Layout, archives, finite
from fourfold.priors.supplied.places import filmed, lone_view, to_stored
from fourfold.untrusted.arrays import archive_names, array_shape, check_shape, load_archive

NAMES = (("tracks", "visibility"), ("pred_tracks", "pred_visibility"), ("tracks", "visibilities"), ("tracks", "vis"))
FOLDERS = ("", "cotracker", "tracks", "2d_tracks")


def find(capture: Capture, given: bool) -> list[Path]:
    """The first `.npz` with one of the pairs of names."""
    for keys in NAMES:
        if found := archives(capture, given, keys, FOLDERS):
            return found
    return []


def read(capture: Capture, files: list[Path]) -> Tracks2D:
    """The tracks, one per column; `query_time` is that of `queries`, else the first moment at which the point is visible."""
    path, view = files[0], lone_view(capture) or 0
    present = set(archive_names(path))
    keys = next(k for k in NAMES if set(k) <= present)
    tracks, visibility = (_unbatched(a) for a in _load(path, *keys))
    moments = np.flatnonzero(capture.present[view])
    if tracks.ndim != 3 or tracks.shape[2] not in (2, 3) or tracks.shape[0] != len(moments):
        raise FourfoldError(f"{path}: {keys[0]} has the shape {tracks.shape}, expected ({len(moments)}, points, 2): it belongs to another capture")
    check_shape(visibility.shape, tracks.shape[:2], f"{path}: {keys[1]}")
    count = tracks.shape[1]
    seen = np.zeros((count, capture.times))
    seen[:, moments] = np.clip(finite(np.asarray(visibility, np.float64), f"{path}: {keys[1]}"), 0, 1).T
    shown = seen > 0.5
    xy = np.zeros((count, capture.times, 2), np.float32)
    positions = np.where(shown[:, moments].T[..., None], tracks[..., :2], np.nan_to_num(np.asarray(tracks[..., :2], np.float64)))
    xy[:, moments] = to_stored(finite(positions, f"{path}: {keys[0]}"), _size(path, capture, view, present), capture, view).transpose(1, 0, 2)
    query = shown.argmax(axis=1)
    if "queries" in present:
        rows = finite(_load(path, "queries")[0], f"{path}: queries")
        rows = rows[0] if rows.ndim == 3 else rows
        check_shape(rows.shape, (count, 3), f"{path}: queries")
        asked = rows[:, 0].astype(int)
        if count and (asked.min() < 0 or asked.max() >= len(moments)):
            raise FourfoldError(f"{path}: queries name frame {asked.max()} of {len(moments)}: it belongs to another capture")
        query = moments[asked]
    kind = "mosca" if path.stem.endswith("_tap") else "cotracker"
    return Tracks2D(
        Provenance(f"{kind} (supplied)", needs_weights=True, figures={"files": str(path)}),
        xy,
        seen.astype(np.float16),
        np.maximum(seen, 1 - seen).astype(np.float16),
        np.full(count, view, np.int32),
        query.astype(np.int32),
    )


def _load(path: Path, *names: str) -> list[NDArray[Any]]:
    arrays = load_archive(path, dict.fromkeys(names))
    return [arrays[name] for name in names]


def _unbatched(array: NDArray[Any]) -> NDArray[Any]:
    """Without a leading batch of one, and without a trailing one of `visibility`."""
    array = array[0] if array.ndim == 4 or (array.ndim == 3 and array.shape[0] == 1 and array.shape[-1] not in (2, 3)) else array
    return array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array


def _size(path: Path, capture: Capture, view: int, present: set[str]) -> tuple[int, int]:
    """Width and height of the images that the positions are pixels of."""
    if "video" not in present:
        return filmed(capture).sizes[view]
    shape = array_shape(path, "video")
    shape = shape[1:] if len(shape) == 5 else shape
    if len(shape) != 4 or 0 in shape:
        return filmed(capture).sizes[view]
    return (shape[3], shape[2]) if shape[1] == 3 else (shape[2], shape[1])


PROVIDERS = Layout("tracks-archive", "tracks2d", find, read).providers()
