"""Image tracks of TAPIR or BootsTAPIR as Shape of Motion writes them: `QUERY_FRAME.npy`, T x T files of (P, 4) float32.

Columns: x, y (pixels of the images as filmed, pixel centres at whole numbers), occlusion logit, uncertainty logit; P is constant over the
frames of a query and may be 0. A point is visible with (1 - sigmoid(occlusion)) (1 - sigmoid(uncertainty)) > 0.5.
Source: spec priors_monocular.md section 4.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.priors.contracts import Provenance, Tracks2D
from fourfold.priors.supplied.layout import Layout, array_of, finite
from fourfold.priors.supplied.places import filmed, folders, lone_view, to_stored

FOLDERS = ("", "bootstapir", "tapir", "tapir_tracks", "2d_tracks/1x", "2d_tracks", "flow3d_preprocessed/2d_tracks/1x")
MOST_TRACKS = 20_000  # beyond it every query frame gives an even share


def find(capture: Capture, given: bool) -> list[Path]:
    """The folder with a file of the first named frame tracked from itself."""
    view = lone_view(capture)
    names = [] if view is None else [n for n in filmed(capture).names[view] if n]
    for folder in folders(capture, given, FOLDERS):
        if any((folder / f"{name}_{name}.npy").is_file() for name in names):
            return [folder]
    return []


def read(capture: Capture, files: list[Path]) -> Tracks2D:
    """The tracks of every query frame of which there are files; a query frame must have one for each other image."""
    folder, view = files[0], lone_view(capture) or 0
    names, size = filmed(capture).names[view], filmed(capture).sizes[view]
    frames = [t for t in np.flatnonzero(capture.present[view]) if names[t]]
    queries = [int(q) for q in frames if (folder / f"{names[q]}_{names[q]}.npy").is_file() and capture.train[view, q]]
    counts = {q: len(array_of(folder / f"{names[q]}_{names[q]}.npy", (None, 4))) for q in queries}
    each = max(1, MOST_TRACKS // max(len(queries), 1))
    xy, visible, sure, query_time = [], [], [], []
    for q in queries:
        rows = np.unique(np.linspace(0, counts[q] - 1, min(counts[q], each)).astype(int)) if counts[q] else np.zeros(0, int)
        values = np.zeros((len(rows), capture.times, 4))
        values[..., 2] = 100.0  # a moment without an image: hidden
        for j in frames:
            path = folder / f"{names[q]}_{names[j]}.npy"
            if not path.is_file():
                raise FourfoldError(f"{folder} lacks {path.name}: {len(frames)} images need {len(frames)} files for each query frame")
            values[:, j] = finite(array_of(path, (counts[q], 4)), str(path))[rows]
        certain = 1 - sigmoid(values[..., 3])
        xy.append(to_stored(values[..., :2], size, capture, view))
        visible.append((1 - sigmoid(values[..., 2])) * certain)
        sure.append(certain)
        query_time.append(np.full(len(rows), q, np.int32))
    total = sum(len(q) for q in query_time)
    figures = {"queries": len(queries), "files": str(folder), "of": int(sum(counts.values()))}
    return Tracks2D(
        Provenance("tapir (supplied)", needs_weights=True, figures=figures),
        np.concatenate(xy) if xy else np.zeros((0, capture.times, 2), np.float32),
        np.concatenate(visible).astype(np.float16) if xy else np.zeros((0, capture.times), np.float16),
        np.concatenate(sure).astype(np.float16) if xy else np.zeros((0, capture.times), np.float16),
        np.full(total, view, np.int32),
        np.concatenate(query_time) if xy else np.zeros(0, np.int32),
    )


def sigmoid(logit: NDArray[np.floating]) -> NDArray[np.float64]:
    """1 / (1 + exp(-logit)), safe for large numbers."""
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(logit, np.float64)))


PROVIDERS = Layout("tapir", "tracks2d", find, read).providers()
