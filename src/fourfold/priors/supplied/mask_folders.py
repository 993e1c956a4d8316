"""Object masks as images: Track-Anything's (one file per frame) and SAM 2's (one folder per object, joined).

The output of SAM's automatic generator (one folder per image with `metadata.csv`) says what is in an image, not what moves, and is refused.
Source: spec priors_monocular.md section 6.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.capture.frames import IMAGE_SUFFIXES
from fourfold.capture.given_masks import inverted
from fourfold.capture.mask_levels import ARRAY_SUFFIXES, decide, read_object_mask, sample
from fourfold.errors import FourfoldError
from fourfold.priors.contracts import Masks, Provenance
from fourfold.priors.supplied.layout import Layout, stored_map
from fourfold.priors.supplied.places import folders, frame_files, holds_frames

GIVEN_NAMES = (
    "masks",
    "mask",
    "track_anything/1x",
    "track_anything/2x",
    "track_anything",
    "flow3d_preprocessed/track_anything/1x",
    "sam2",
    "sam",
    "",
)
BESIDE_NAMES = ("track_anything/1x", "track_anything", "sam2", "sam2_masks", "sam", "sam_masks")
SUFFIXES = tuple(sorted(IMAGE_SUFFIXES | ARRAY_SUFFIXES))


def find(capture: Capture, given: bool) -> list[Path]:
    """The first folder of masks, in it files or one folder per object or view."""
    trained = [int(v) for v in np.flatnonzero(capture.train.any(axis=1))]
    for name in GIVEN_NAMES if given else BESIDE_NAMES:
        for folder in folders(capture, given, (name,)):
            if any(holds_frames(folder, SUFFIXES, capture, v, not name) for v in trained) or (name and _inner(folder)):
                return [folder]
    return []


def read(capture: Capture, files: list[Path]) -> Masks:
    """+1 where any object's mask is on, -1 elsewhere, 0 where there is no mask; masks that are on nearly everywhere are of the background."""
    folder, masks, objects = files[0], [], 0
    for view in range(capture.views):
        width, height = (int(n) for n in capture.sizes[view])
        mask = np.zeros((capture.times, height, width), np.int8)
        if capture.train[view].any():
            one_camera = int(capture.train.any(axis=1).sum()) == 1
            layers = _layers(folder if one_camera else folder / capture.view_names[view], capture, view)
            objects = max(objects, len(layers))
            reading = decide([path for layer in layers for path in sample([p for p in layer if p is not None])])
            reading = replace(reading, inverted=len(layers) == 1 and inverted([p for p in layers[0] if p is not None], reading))
            for moment in np.flatnonzero(capture.present[view]):
                paths = [path for layer in layers if (path := layer[moment]) is not None]
                if paths:
                    mask[moment] = np.max([stored_map(read_object_mask(path, reading), capture, view, path) for path in paths], axis=0)
        masks.append(mask)
    return Masks(Provenance("masks (supplied)", needs_weights=True, figures={"files": str(folder), "objects": objects}), tuple(masks))


def _layers(folder: Path, capture: Capture, view: int) -> list[list[Path | None]]:
    """Per object the mask file of each of the T moments."""
    if not folder.is_dir():
        raise FourfoldError(f"{folder} does not exist: give a folder of masks for each camera")
    own = frame_files(folder, SUFFIXES, capture, view)
    if own is not None:
        return [own]
    inner = _inner(folder)
    if any((p / "metadata.csv").is_file() for p in inner):
        raise FourfoldError(f"{folder} holds all segments of each image, not what moves: give masks of the moving objects")
    layers = [files for p in inner if (files := frame_files(p, SUFFIXES, capture, view)) is not None]
    if not layers:
        raise FourfoldError(f"{folder} holds no mask images: give one PNG per image")
    return layers


def _inner(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and any(f.suffix.lower() in SUFFIXES for f in p.iterdir()))


PROVIDERS = Layout("mask-folders", "masks", find, read, several=True).providers()
