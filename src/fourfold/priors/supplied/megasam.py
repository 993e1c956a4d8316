"""MegaSaM's result `SCENE_sgd_cvd_hr.npz`: `depths` (T, h, w) along the optical axis, `intrinsic` (3, 3) in pixels of `depths`, `cam_c2w` (T, 4, 4).

Poses are camera to world; K counts pixel centres as whole numbers. The depth is in the unit of the file's own poses, so beside other
cameras it is brought to their scale, or refused where the paths differ.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Cameras, Depth, Provenance
from fourfold.priors.depth_range import near_far
from fourfold.priors.supplied.layout import Layout, archives, arrays_of, stored_map
from fourfold.priors.supplied.places import intrinsics_to_stored, lone_view
from fourfold.priors.supplied.worlds import cameras_from, need_world, rigid

KEYS = ("depths", "intrinsic", "cam_c2w")
FOLDERS = ("", "megasam", "outputs_cvd", "outputs")


def find(capture: Capture, given: bool) -> list[Path]:
    """The first file with MegaSaM's arrays."""
    return archives(capture, given, KEYS, FOLDERS)


def read_cameras(capture: Capture, files: list[Path]) -> Cameras:
    """Its cameras for the stored images."""
    view = lone_view(capture) or 0
    found = _load(capture, view, files[0])
    K = intrinsics_to_stored(found["intrinsic"], found["depths"].shape[:0:-1], capture, view)
    return cameras_from(capture, view, K, np.linalg.inv(found["cam_c2w"]), "megasam (supplied)", files)


def read_depth(capture: Capture, files: list[Path]) -> Depth:
    """Its depth in the scale of the capture's cameras."""
    view = lone_view(capture) or 0
    found = _load(capture, view, files[0])
    world = need_world(np.linalg.inv(found["cam_c2w"]), capture, view, files[0])
    return depth_of(capture, view, found["depths"] * np.float32(world.scale), "megasam (supplied)", files[0])


def depth_of(capture: Capture, view: int, depths: NDArray[Any], provider: str, path: Path) -> Depth:
    """The `Depth` of one view's present frames (F, h, w), not positive or not finite is unknown; other views are unknown."""
    maps = [np.zeros((capture.times, int(h), int(w)), np.float32) for w, h in capture.sizes]
    for image, moment in zip(depths, np.flatnonzero(capture.present[view]), strict=True):
        known = np.where(np.isfinite(image) & (image > 0), image, 0).astype(np.float32)
        maps[view][moment] = stored_map(known, capture, view, path)
    confidence = tuple((m > 0).astype(np.float16) for m in maps)
    near, far = near_far(Depth(Provenance(provider), tuple(maps), confidence))
    figures = {"near": near, "far": far, "files": str(path)}
    return Depth(Provenance(provider, needs_weights=True, figures=figures), tuple(maps), confidence)


def _load(capture: Capture, view: int, path: Path) -> dict[str, NDArray[Any]]:
    count = int(capture.present[view].sum())
    found = arrays_of(path, depths=(count, None, None), intrinsic=(3, 3), cam_c2w=(count, 4, 4))
    return found | {"cam_c2w": rigid(found["cam_c2w"], f"{path}: cam_c2w"), "depths": found["depths"].astype(np.float32)}


PROVIDERS = (*Layout("megasam", "cameras", find, read_cameras).providers(), *Layout("megasam", "depth", find, read_depth).providers())
