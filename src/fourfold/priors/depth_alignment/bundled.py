"""Cameras, depth and 3D tracks brought into agreement by bundle adjustment on static tracks (spec mosca.md section 4).

Cameras that came with the data are taken for exact: then only the depth of each image is scaled. Each view is adjusted by itself, since no
2D track knows of another view.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourfold.capture.capture import Capture
from fourfold.notices import fallback
from fourfold.priors.contracts import Cameras, Depth, Masks, Prior, Priors, Provenance, Tracks2D, Tracks3D
from fourfold.priors.depth_alignment.joint_adjustment import Free, Problem
from fourfold.priors.depth_alignment.static_slots import SlotNumbers, static_slots
from fourfold.priors.depth_alignment.view_adjustment import Adjusted, ViewNumbers, adjust_view
from fourfold.priors.providers import Provider

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BundledNumbers:
    """Numbers of the parts; `focal` whether an estimated focal length may change with the poses."""

    slots: SlotNumbers = SlotNumbers()
    view: ViewNumbers = field(default_factory=ViewNumbers)
    focal: bool = True


@dataclass(frozen=True)
class Correction:
    """How a view's cameras and depth change: K (T, 3, 3), world_to_camera (T, 4, 4), scale (T,) factor on the depth of each image, and what the
    adjustment says of itself."""

    K: Array
    world_to_camera: Array
    scale: Array
    figures: dict[str, float | int | str]


def correct_view(
    capture: Capture, view: int, tracks2d: Tracks2D, depth: Depth, masks: Masks, numbers: BundledNumbers = BundledNumbers()
) -> Correction | str:
    """The correction of one view, or why there is none.

    Images without enough static points, held-out ones among them, are corrected as their neighbours in time are. Only cameras that were
    estimated move.
    """
    name = capture.view_names[view]
    if capture.cameras in ("rotation", "fixed"):
        return f"the camera {name!r} did not travel"
    slots = static_slots(capture, view, tracks2d, depth, masks, numbers.slots)
    if slots is None:
        return f"fewer than {numbers.slots.tracks} static points are seen by the camera {name!r} at enough moments and with depth"
    free = Free(poses=capture.cameras == "estimated", focal=numbers.focal and capture.cameras == "estimated")
    old = capture.world_to_camera[view, slots.times]
    problem = Problem(slots, capture.K[view, slots.times], 2.0 / float(capture.sizes[view].min()), numbers.view.adjustment)
    found = adjust_view(problem, old, free, numbers.view)
    if found is None:
        return f"the camera {name!r} did not travel far enough to compare its path with the depth"
    return _over_time(capture, view, slots.times, found)


def bundled(capture: Capture, priors: Priors, numbers: BundledNumbers = BundledNumbers()) -> list[Prior]:
    """`Cameras`, `Depth` and, where they are there already, `Tracks3D`, corrected. Where nothing can be told they are handed back."""
    cameras, depth, tracks2d = priors.require(Cameras), priors.require(Depth), priors.require(Tracks2D)
    found: dict[int, Correction] = {}
    for view in (int(v) for v in np.flatnonzero(capture.train.any(axis=1))):
        correction = correct_view(capture, view, tracks2d, depth, priors.require(Masks), numbers)
        if isinstance(correction, str):
            fallback(f"cameras and depth stay as they are: {correction}")
        else:
            found[view] = correction
    made: list[Prior] = [_cameras(cameras, found), _depth(depth, found)]
    return made if priors.tracks3d is None else [*made, _tracks(priors.tracks3d, capture, found)]


def _over_time(capture: Capture, view: int, times: NDArray[np.int64], found: Adjusted) -> Correction:
    """The correction of all moments from that of `times`: interpolated in the axes of the camera, constant beyond the ends."""
    old, moments = capture.world_to_camera[view], np.arange(capture.times)
    K, poses, scale = capture.K[view].copy(), old.copy(), np.ones(capture.times)
    if found.moved != "nothing":
        scale = np.exp(np.interp(moments, times, np.log(found.state.scale)))
    if found.moved == "cameras":
        K[:, 0, :2] *= found.state.focal
        K[:, 1, 1] *= found.state.focal
        change = found.state.poses @ np.linalg.inv(old[times])
        turn = Rotation.from_matrix(change[:, :3, :3]).as_rotvec()
        turn, shift = (np.stack([np.interp(moments, times, c) for c in part.T], axis=1) for part in (turn, change[:, :3, 3]))
        filled = np.tile(np.eye(4), (capture.times, 1, 1))
        filled[:, :3, :3], filled[:, :3, 3] = Rotation.from_rotvec(turn).as_matrix(), shift
        poses = filled @ old
        poses[times] = found.state.poses
    return Correction(K, poses, scale, found.figures)


def _provenance(prior: Prior, found: dict[int, Correction]) -> Provenance:
    made = prior.provenance
    figures = {str(view): c.figures | {"scale_spread": round(float(np.log(c.scale).std()), 5)} for view, c in found.items()}
    return replace(made, provider=f"bundled {made.provider}", figures=made.figures | {"bundled": figures})


def _cameras(cameras: Cameras, found: dict[int, Correction]) -> Cameras:
    K, poses = cameras.K.copy(), cameras.world_to_camera.copy()
    for view, correction in found.items():
        K[view], poses[view] = correction.K, correction.world_to_camera
    return replace(cameras, provenance=_provenance(cameras, found), K=K, world_to_camera=poses) if found else cameras


def _depth(depth: Depth, found: dict[int, Correction]) -> Depth:
    def scaled(view: int) -> NDArray[np.floating]:
        values = depth.depth[view]
        return values if view not in found else (values * found[view].scale[:, None, None]).astype(values.dtype)

    return replace(depth, provenance=_provenance(depth, found), depth=tuple(scaled(v) for v in range(len(depth.depth)))) if found else depth


def _tracks(tracks: Tracks3D, capture: Capture, found: dict[int, Correction]) -> Tracks3D:
    """Tracks of a single camera keep their pixels and their depth relative to the image's; of several, it is not known who saw them."""
    if not found or capture.train.any(axis=1).sum() != 1:
        return tracks
    (view, correction), xyz = next(iter(found.items())), tracks.xyz.astype(np.float64)
    for time, (old, new) in enumerate(zip(capture.world_to_camera[view], correction.world_to_camera, strict=True)):
        if np.isfinite(old).all():
            local = (xyz[:, time] @ old[:3, :3].T + old[:3, 3]) * correction.scale[time]
            local[:, :2] *= capture.K[view, time, 0, 0] / correction.K[time, 0, 0]
            xyz[:, time] = (local - new[:3, 3]) @ new[:3, :3]
    return replace(tracks, provenance=_provenance(tracks, found), xyz=xyz.astype(np.float32))


PROVIDERS = (
    Provider(
        "bundled",
        ("depth",),
        ("masks", "cameras", "tracks2d", "depth"),
        0,
        lambda _: None,
        bundled,
        refines=("cameras", "depth", "tracks3d"),
    ),
)
