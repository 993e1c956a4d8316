"""3D tracks of one mover: a rigid body's dense points where it holds, image tracks lifted with its depth where it does not.

Source: spec calibration.md section E; consumers: spec shape_of_motion.md sections 2-4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.cameras.pose_path import fill_path, fill_poses
from fourfold.priors.contracts import Provenance, Tracks3D
from fourfold.priors.movers.loose_parts import loose_points, loose_tracks
from fourfold.priors.movers.mover_models import ImageTracks, Mover, MoverModel
from fourfold.priors.tracking.lift import fill_between, joined_tracks, solid_tracks, unproject_points
from fourfold.priors.tracking.track_step import sample

Array = NDArray[np.float64]
PROVENANCE = Provenance("movers")


@dataclass(frozen=True)
class MoverTrackNumbers:
    """Numbers of a mover's tracks.

    Attributes:
        loose_error: median distance from the rigid body beyond which a track is a part moving on its own, share of the image's diagonal.
        loose_share: share of the dense points among such tracks below which they are taken for noise.
        depth_slack: a rigid point counts as visible up to this much behind the object's own surface, relative.
    """

    loose_error: float = 0.006
    loose_share: float = 0.1
    depth_slack: float = 0.03


def tracks_of_model(
    capture: Capture, mover: Mover, model: MoverModel, scales: Array, numbers: MoverTrackNumbers = MoverTrackNumbers()
) -> tuple[Tracks3D, dict[str, object]]:
    """Tracks of a mover in the world, `scales` (F,) times its object units, and figures about them.

    A rigid body gives its dense points, without the parts that move on their own, whose image tracks are lifted as those of other movers are.
    """
    if model.kind != "rigid" or model.shape is None:
        return _lifted_tracks(capture, mover, model, scales), {}
    whole = _rigid_tracks(capture, mover, model, scales, numbers)
    loose, judged = loose_tracks(mover, model, max(2.0, numbers.loose_error * float(np.hypot(*mover.masks.shape[1:]))))
    stays = ~loose_points(mover, model, loose, judged)
    figures: dict[str, object] = {"loose_share": round(float(1 - stays.mean()), 4)}
    if 1 - stays.mean() < numbers.loose_share:
        return whole, figures
    own = model.tracks
    limbs = _lifted_tracks(capture, mover, replace(model, tracks=ImageTracks(own.xy[loose], own.visible[loose], own.placed[loose])), scales)
    return joined_tracks((whole.rows(stays), limbs), PROVENANCE), figures | {"loose_tracks": len(limbs.xyz), "dense_points_left": int(stays.sum())}


def _rigid_tracks(capture: Capture, mover: Mover, model: MoverModel, scales: Array, numbers: MoverTrackNumbers) -> Tracks3D:
    """Points of a rigid object at every time index: poses are cubic between the placed frames."""
    if model.object_to_camera is None or model.shape is None:
        return _lifted_tracks(capture, mover, model, scales)
    placed = np.flatnonzero(np.isfinite(model.object_to_camera[:, 0, 0]))
    poses = np.tile(np.eye(4), (capture.times, 1, 1))
    known = np.zeros(capture.times, bool)
    visibility = np.zeros((len(model.shape.points), capture.times), np.float32)
    for frame in placed:
        time = mover.times[frame]
        metric = model.object_to_camera[frame].copy()
        metric[:3, 3] *= scales[frame]
        poses[time] = np.linalg.inv(mover.world_to_camera[frame]) @ metric
        known[time] = True
        visibility[:, time] = _sees(mover, model, int(frame), numbers.depth_slack)
    poses = fill_poses(poses, known, capture.timestamps)
    size = np.interp(capture.timestamps, capture.timestamps[[mover.times[frame] for frame in placed]], scales[placed])
    xyz = np.einsum("tij,pj->pti", size[:, None, None] * poses[:, :3, :3], model.shape.points) + poses[None, :, :3, 3]
    tracks = solid_tracks(PROVENANCE, xyz, visibility, np.where(visibility > 0, 1.0, 0.5), model.shape.color, native=True)
    return replace(tracks, spacing=(float(np.median(scales)) * model.shape.spacing).astype(np.float32))


def _sees(mover: Mover, model: MoverModel, frame: int, slack: float) -> NDArray[np.float32]:
    if model.object_to_camera is None or model.shape is None:
        return np.zeros(0, np.float32)
    pose = model.object_to_camera[frame]
    camera = model.shape.points @ pose[:3, :3].T + pose[:3, 3]
    pixel = camera @ mover.K[frame].T
    pixel = pixel[:, :2] / np.maximum(pixel[:, 2:], 1e-9)
    height, width = mover.masks.shape[1:]
    inside = (pixel >= 0).all(axis=1) & (pixel[:, 0] < width) & (pixel[:, 1] < height) & (camera[:, 2] > 0)
    column, row = np.clip(pixel[:, 0].astype(int), 0, width - 1), np.clip(pixel[:, 1].astype(int), 0, height - 1)
    surface = model.depth[frame][row, column]
    return (inside & (surface > 0) & (camera[:, 2] <= (1 + slack) * surface)).astype(np.float32)


def _lifted_tracks(capture: Capture, mover: Mover, model: MoverModel, scales: Array) -> Tracks3D:
    """Image tracks of the mover lifted with its depth; unknown moments are linear in time, relative to the object's own path."""
    tracks = model.tracks
    xyz = np.zeros((len(tracks.xy), capture.times, 3))
    known = np.zeros((len(tracks.xy), capture.times), bool)
    shown = np.zeros((len(tracks.xy), capture.times), np.float32)
    for frame in np.flatnonzero((model.depth > 0).any(axis=(1, 2))):
        time = mover.times[frame]
        z = _depth_at(model, int(frame), tracks.xy[:, frame])
        good = tracks.placed[:, frame] & (z > 0)
        xyz[good, time] = unproject_points(tracks.xy[good, frame], scales[frame] * z[good], mover.K[frame], mover.world_to_camera[frame])
        known[good, time] = True
        shown[good & tracks.visible[:, frame], time] = 1
    keep = shown.sum(axis=1) >= max(2, int(0.05 * len(mover.times)))
    xyz, known, shown, xy, visible = xyz[keep], known[keep], shown[keep], tracks.xy[keep], tracks.visible[keep]
    path = _world_path(capture, mover, model, scales)
    filled = fill_between(xyz - path[None], known) + path[None]
    first = visible.argmax(axis=1)
    color = np.zeros((len(xy), 3), np.float32)
    for frame in np.unique(first):
        rows = np.flatnonzero(first == frame)
        color[rows] = sample(np.asarray(capture.image(mover.view, mover.times[frame]), np.float32), xy[rows, frame]) / 255
    confidence = np.where(shown > 0, 0.7, np.where(known, 0.35, 0)).astype(np.float32)
    native = (known[:, mover.times].mean(axis=1) > 0.8) & (tracks.placed[keep] & ~visible).any(axis=1)
    return solid_tracks(PROVENANCE, filled, shown, confidence, color, native=native)


def _depth_at(model: MoverModel, frame: int, xy: NDArray[np.float32]) -> Array:
    """(P,) depth in object units at image points: bilinear inside the mask; a flat object's is the same beyond its mask, 0 otherwise."""
    depth = model.depth[frame]
    whole = sample((depth > 0).astype(np.float32), xy) > 0.999
    outside = float(np.median(depth[depth > 0])) if model.kind == "flat" else 0.0
    return np.where(whole, sample(depth, xy), outside).astype(np.float64)


def _world_path(capture: Capture, mover: Mover, model: MoverModel, scales: Array) -> Array:
    """(T, 3) path of the object's centre in the world."""
    path = np.zeros((capture.times, 3))
    known = np.zeros(capture.times, bool)
    for frame in np.flatnonzero(np.isfinite(model.centers[:, 0])):
        pose = mover.world_to_camera[frame]
        path[mover.times[frame]] = (scales[frame] * model.centers[frame] - pose[:3, 3]) @ pose[:3, :3]
        known[mover.times[frame]] = True
    return fill_path(path, known, capture.timestamps) if known.any() else path
