"""TAPIP3D's `.npz`: `video` (T, H, W, 3), `depths` (T, H, W), `intrinsics` (T, 3, 3), `extrinsics` (T, 4, 4) world to camera, `coords` (T, N, 3)
points in the world, `visibs` (T, N) yes or no, or logits.

Invisible positions are valid estimates. K counts pixel centres as whole numbers. Source: spec priors_monocular.md sections 5 and 7.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.geometry.spacing import neighbour_spacing
from fourfold.priors.contracts import Cameras, Depth, Provenance, Tracks3D
from fourfold.priors.supplied.layout import Layout, archives, arrays_of, finite
from fourfold.priors.supplied.megasam import depth_of
from fourfold.priors.supplied.places import intrinsics_to_stored, lone_view
from fourfold.priors.supplied.tapir import sigmoid
from fourfold.priors.supplied.worlds import cameras_from, need_world, rigid
from fourfold.untrusted.arrays import check_shape

SCENE = ("depths", "intrinsics", "extrinsics")
TRACKS = ("coords", "visibs", "extrinsics")
FOLDERS = ("", "tapip3d", "outputs")
VISIBLE = 0.9  # of the sigmoid of a logit: spec priors_monocular.md section 5


def find_scene(capture: Capture, given: bool) -> list[Path]:
    """The first file with depth and cameras."""
    return archives(capture, given, SCENE, FOLDERS)


def find_tracks(capture: Capture, given: bool) -> list[Path]:
    """The first file with points and cameras."""
    return archives(capture, given, TRACKS, FOLDERS)


def read_cameras(capture: Capture, files: list[Path]) -> Cameras:
    """Its cameras for the stored images."""
    view = lone_view(capture) or 0
    found = _scene(capture, view, files[0])
    K = intrinsics_to_stored(found["intrinsics"], found["depths"].shape[:0:-1], capture, view)
    return cameras_from(capture, view, K, found["extrinsics"], "tapip3d (supplied)", files)


def read_depth(capture: Capture, files: list[Path]) -> Depth:
    """Its depth in the scale of the capture's cameras."""
    view = lone_view(capture) or 0
    found = _scene(capture, view, files[0])
    world = need_world(found["extrinsics"], capture, view, files[0])
    return depth_of(capture, view, found["depths"] * np.float32(world.scale), "tapip3d (supplied)", files[0])


def read_tracks(capture: Capture, files: list[Path]) -> Tracks3D:
    """Its points in the capture's world, all of one group; moments without an image stay where the point was last."""
    path, view = files[0], lone_view(capture) or 0
    moments = np.flatnonzero(capture.present[view])
    found = arrays_of(path, coords=(len(moments), None, 3), visibs=(len(moments), None), extrinsics=(len(moments), 4, 4))
    check_shape(found["visibs"].shape, found["coords"].shape[:2], f"{path}: visibs")
    world = need_world(rigid(found["extrinsics"], f"{path}: extrinsics"), capture, view, path)
    count = found["coords"].shape[1]
    points = world.moved(finite(found["coords"], f"{path}: coords")).transpose(1, 0, 2)
    nearest = np.searchsorted(moments, np.arange(capture.times), side="right").clip(1, len(moments)) - 1
    xyz = points[:, nearest].astype(np.float32)
    seen, sure = _visibility(finite(found["visibs"], f"{path}: visibs"))
    visibility, confidence = np.zeros((count, capture.times), np.float16), np.zeros((count, capture.times), np.float16)
    visibility[:, moments], confidence[:, moments] = seen.T, sure.T
    middle = capture.times // 2
    return Tracks3D(
        Provenance("tapip3d (supplied)", needs_weights=True, figures={"files": str(path), "scale": world.scale}),
        xyz,
        visibility,
        confidence,
        _colors(capture, view, xyz, visibility),
        neighbour_spacing(xyz[:, middle], lonely=0.0),
        np.zeros(count, np.int32),
        np.ones(count, np.uint8),
    )


def _visibility(values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Visibility and confidence of yes and no (bool, or 0 and 1), or of logits."""
    if values.dtype.kind == "b" or np.isin(values, (0, 1)).all():
        return values.astype(np.float64), np.ones(values.shape)
    share = sigmoid(values)
    return (share >= VISIBLE).astype(np.float64), np.maximum(share, 1 - share)


def _colors(capture: Capture, view: int, xyz: NDArray[np.float32], visibility: NDArray[np.float16]) -> NDArray[np.float32]:
    """(P, 3) colour at the first visible moment, 0.5 grey where a point is never visible or outside the image."""
    color = np.full((len(xyz), 3), 0.5, np.float32)
    first = (visibility > 0.5).argmax(axis=1)
    for moment in np.unique(first):
        rows = np.flatnonzero((first == moment) & (visibility[:, moment] > 0.5))
        camera = xyz[rows, moment] @ capture.world_to_camera[view, moment, :3, :3].T + capture.world_to_camera[view, moment, :3, 3]
        pixel = camera @ capture.K[view, moment].T
        xy = (pixel[:, :2] / np.where(pixel[:, 2:] > 1e-6, pixel[:, 2:], np.nan)).astype(np.float32) - 0.5
        ok = np.isfinite(xy).all(1) & (xy > -0.5).all(1) & (xy < capture.sizes[view] - 0.5).all(1)
        if ok.any():
            image = np.ascontiguousarray(capture.image(view, int(moment))).astype(np.float32)
            color[rows[ok]] = cv2.remap(image, xy[ok, None, 0], xy[ok, None, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0] / 255
    return color


def _scene(capture: Capture, view: int, path: Path) -> dict[str, NDArray[Any]]:
    count = int(capture.present[view].sum())
    found = arrays_of(path, depths=(count, None, None), intrinsics=(count, 3, 3), extrinsics=(count, 4, 4))
    extrinsics = rigid(found["extrinsics"], f"{path}: extrinsics")
    return found | {
        "extrinsics": extrinsics,
        "depths": found["depths"].astype(np.float32),
        "intrinsics": finite(found["intrinsics"], f"{path}: intrinsics"),
    }


PROVIDERS = (
    *Layout("tapip3d", "cameras", find_scene, read_cameras).providers(),
    *Layout("tapip3d", "depth", find_scene, read_depth).providers(),
    *Layout("tapip3d", "tracks3d", find_tracks, read_tracks).providers(),
)
