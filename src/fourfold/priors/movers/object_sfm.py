"""Structure from motion of one moving object: its points and its pose to the camera in every frame, up to scale.

Source: spec calibration.md section E ("each large mover is an SfM problem of its own").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fourfold.counting import counted
from fourfold.priors.movers.body_bundle import Array, BundleConfig, Observations, bundle_adjust, residuals
from fourfold.priors.movers.factorisation import factorise
from fourfold.priors.movers.object_starts import bulging, longest


@dataclass(frozen=True)
class ObjectSfmConfig:
    """Numbers of the object's structure from motion.

    Attributes:
        bundle: one bundle adjustment.
        max_points: tracks used, the longest ones.
        seed_points: of these, at most so many in the first window.
        max_frames: frames bundled; the others are only placed against the points.
        least_points: points a frame must see to be placed, and tracks the first window must share.
        outlier: observations with a larger error are dropped in the end, pixels.
        explained: observations with a smaller error count as explained by a rigid body, pixels.
        core_rounds, core_factor, core_least: how often the tracks are narrowed to the rigid core: those whose median error is below this factor
            times the best third's, or below this many pixels.
        evenly: whether of tracks seen equally long any are taken, from all over the body, or the first, which lie side by side.
        bulging: frames in which a shape that bulges towards the camera is a start.
        rival_points: tracks from which starts are compared; the best goes on with all.
        least_angle: largest angle between a point's rays that is too small to trust it, radians in the object's frame.
    """

    bundle: BundleConfig = field(default_factory=BundleConfig)
    max_points: int = 700
    seed_points: int = 250
    max_frames: int = 60
    least_points: int = 10
    outlier: float = 3.0
    explained: float = 1.5
    least_angle: float = 0.02
    evenly: bool = False
    bulging: int = 3
    rival_points: int = 200
    core_rounds: int = 2
    core_factor: float = 2.0
    core_least: float = 0.3


@dataclass(frozen=True)
class RigidObject:
    """A rigid object in its own frame and scale.

    Attributes:
        object_to_camera: (F, 4, 4), NaN where the frame could not be placed.
        points: (P, 3); origin near the centre, whose depth in the first window's first frame is 1.
        tracks: (P,) index of the track each point came from.
        error: median reprojection error of the rigid core, pixels.
        inliers: share of all the tracks' observations that a rigid body explains.
        turned: largest rotation between two frames relative to the camera, radians.
    """

    object_to_camera: Array
    points: Array
    tracks: NDArray[np.int64]
    error: float
    inliers: float
    turned: float


def solve_object(
    xy: Array, visible: NDArray[np.bool_], K: Array, config: ObjectSfmConfig = ObjectSfmConfig(), known: Sequence[Array] = ()
) -> RigidObject | None:
    """Rigid shape and motion from the tracks of one object; with poses that are known, of several starts the one that explains most.

    Args:
        xy: (P, F, 2) pixels, pixel centres at +0.5.
        visible: (P, F) bool.
        K: (F, 3, 3) intrinsics.
        known: each (F, 4, 4) object-to-camera poses from which to start as well, NaN where unknown, the object's origin near its centre.

    Returns:
        None where too few tracks live long enough to say anything.
    """
    chosen = longest(visible, config.max_points, evenly=config.evenly)
    frames = np.unique(np.linspace(0, xy.shape[1] - 1, min(config.max_frames, xy.shape[1])).round().astype(int))
    if len(chosen) < config.least_points or len(frames) < 3:
        return None
    part, seen = xy[chosen][:, frames].astype(np.float64), visible[chosen][:, frames]
    if not known:
        start = _seed(part, seen, K[frames], config)
    else:
        poses = [one[frames] for one in known]
        start = _best_start(part[: config.rival_points], seen[: config.rival_points], K[frames], poses, config)
    if start is None:
        return None
    best = _grow(part, seen, K[frames], *start, config)
    return _finish(xy[chosen].astype(np.float64), visible[chosen], K, frames, chosen, best, config)


_Start = tuple[list[int], Array, NDArray[np.int64], Array]
"""Frames, their poses, tracks and their points."""


def _best_start(xy: Array, seen: NDArray[np.bool_], K: Array, known: Sequence[Array], config: ObjectSfmConfig) -> _Start | None:
    """Poses of the rival that explains most of these tracks in most frames."""
    starts = _starts(xy, seen, K, config) + [start for start in map(_from_poses, known) if start is not None]
    grown = [_grow(xy, seen, K, *start, config) for start in counted(starts, "starts of a body")]
    if not grown:
        return None
    poses = max(grown, key=lambda one: one[2] * np.isfinite(one[0][:, 0, 0]).mean())[0]
    return _from_poses(poses)


def _from_poses(poses: Array) -> _Start | None:
    """A start at known poses (F, 4, 4), NaN where unknown, with no point known yet; None with fewer than three."""
    placed = np.flatnonzero(np.isfinite(poses[:, 0, 0]))
    return ([int(frame) for frame in placed], poses[placed], np.zeros(0, np.int64), np.zeros((0, 3))) if len(placed) >= 3 else None


def _starts(xy: Array, seen: NDArray[np.bool_], K: Array, config: ObjectSfmConfig) -> list[_Start]:
    seed = _seed(xy, seen, K, config)
    starts = [] if seed is None else [seed]
    for number in range(config.bulging):
        frame = int((number + 0.5) / config.bulging * len(K))
        own = np.flatnonzero(seen[:, frame])
        if len(own) >= config.least_points:
            starts.append(([frame], np.eye(4)[None], own, bulging(xy[own, frame], K[frame])))
    return starts


def _window(seen: NDArray[np.bool_], least: int) -> tuple[list[int], NDArray[np.int64]] | None:
    """The run of frames, and the tracks visible in all of it, that is longest while enough tracks (a third of the best frame's) live through it."""
    best: tuple[float, list[int], NDArray[np.int64]] | None = None
    wanted = max(least, int(0.33 * seen.sum(axis=0).max()))
    for start in range(seen.shape[1] - 2):
        alive = seen[:, start].copy()
        for end in range(start + 1, seen.shape[1]):
            alive &= seen[:, end]
            if alive.sum() < wanted:
                break
            score = (end - start) * np.sqrt(alive.sum())
            if end - start >= 2 and (best is None or score > best[0]):
                best = (score, list(range(start, end + 1)), np.flatnonzero(alive))
    if best is None and wanted > least:
        return _window_least(seen, least)
    return None if best is None else (best[1], best[2])


def _window_least(seen: NDArray[np.bool_], least: int) -> tuple[list[int], NDArray[np.int64]] | None:
    shared = [int((seen[:, s] & seen[:, s + 1] & seen[:, s + 2]).sum()) for s in range(seen.shape[1] - 2)]
    start = int(np.argmax(shared)) if shared else 0
    if not shared or shared[start] < least:
        return None
    return [start, start + 1, start + 2], np.flatnonzero(seen[:, start : start + 3].all(axis=1))


def _observations(xy: Array, seen: NDArray[np.bool_], K: Array) -> Observations:
    point, frame = np.nonzero(seen)
    return Observations(frame, point, xy[point, frame], np.ones(len(point)), K)


def _seed(xy: Array, seen: NDArray[np.bool_], K: Array, config: ObjectSfmConfig) -> _Start | None:
    """Frames, their poses, tracks and their points of the first window: the best bundle-adjusted candidate."""
    window = _window(seen, config.least_points)
    if window is None:
        return None
    frames, tracks = window
    tracks = tracks[np.unique(np.linspace(0, len(tracks) - 1, min(config.seed_points, len(tracks))).round().astype(int))]
    part = xy[tracks][:, frames]
    observed = _observations(part, np.ones(part.shape[:2], bool), K[frames])
    best: tuple[float, Array, Array] | None = None
    for poses, points in factorise(part.transpose(1, 0, 2), K[frames]):
        poses, points, cost = bundle_adjust(poses, points, observed, replace(config.bundle, iterations=2 * config.bundle.iterations))
        extent = float(np.linalg.norm(points - np.median(points, axis=0), axis=1).mean())
        sane = extent < 0.8 * float(np.median(poses[:, 2, 3]))
        if np.isfinite(cost) and sane and (best is None or cost < best[0]):
            best = (cost, poses, points)
    return None if best is None else (frames, best[1], tracks, best[2])


def _grow(
    xy: Array,
    seen: NDArray[np.bool_],
    K: Array,
    frames: list[int],
    poses: Array,
    tracks: NDArray[np.int64],
    points: Array,
    config: ObjectSfmConfig,
) -> tuple[Array, Array, float]:
    """Add frames outwards and tracks as they become known.

    Returns: (F, 4, 4) poses and (P, 3) points of the rigid core with NaN where unknown, and the share of all observations explained.
    """
    all_poses = np.full((xy.shape[1], 4, 4), np.nan)
    all_points = np.full((len(xy), 3), np.nan)
    all_poses[frames], all_points[tracks] = poses, points
    refused: set[int] = set()
    since = 0
    while True:
        _triangulate(xy, seen, K, all_poses, all_points, config)
        known = np.isfinite(all_poses[:, 0, 0])
        if since >= 4:
            _bundle_known(xy, seen, K, all_poses, all_points, config, 6)
            since = 0
        ready = [f for f in _border(known) if f not in refused]
        if not ready:
            break
        for frame in ready:
            guess = all_poses[int(np.flatnonzero(known)[np.abs(np.flatnonzero(known) - frame).argmin()])]
            pose = place(all_points, xy[:, frame], seen[:, frame], K[frame], guess, config)
            if pose is None:
                refused.add(frame)
            else:
                all_poses[frame] = pose
                since += 1
    _bundle_known(xy, seen, K, all_poses, all_points, config, config.bundle.iterations)
    _triangulate(xy, seen, K, all_poses, all_points, config)
    inliers = _inlier_share(xy, seen, K, all_poses, all_points, config)
    for _ in range(config.core_rounds):
        _keep_core(xy, seen, K, all_poses, all_points, config)
        _bundle_known(xy, seen, K, all_poses, all_points, config, config.bundle.iterations)
    return all_poses, all_points, inliers


def _known(
    xy: Array, seen: NDArray[np.bool_], K: Array, poses: Array, points: Array
) -> tuple[NDArray[np.intp], NDArray[np.intp], Observations, Array]:
    """Frames with a pose, tracks with a point, the observations of these in those, and their reprojection errors in pixels."""
    frames, tracks = np.flatnonzero(np.isfinite(poses[:, 0, 0])), np.flatnonzero(np.isfinite(points[:, 0]))
    observed = _observations(xy[tracks][:, frames], seen[tracks][:, frames], K[frames])
    return frames, tracks, observed, np.linalg.norm(residuals(poses[frames], points[tracks], observed), axis=1)


def _inlier_share(xy: Array, seen: NDArray[np.bool_], K: Array, poses: Array, points: Array, config: ObjectSfmConfig) -> float:
    """Share of the observations in known frames that the rigid body explains; those of tracks without a point are not explained."""
    frames, _, _, error = _known(xy, seen, K, poses, points)
    return float((error < config.explained).sum() / max(int(seen[:, frames].sum()), 1))


def _keep_core(xy: Array, seen: NDArray[np.bool_], K: Array, poses: Array, points: Array, config: ObjectSfmConfig) -> None:
    """Forget, in place, the tracks that fit clearly worse than the best third: limbs that move on their own, tracks that drifted."""
    error = track_errors(xy, seen, K, poses, points)
    known = np.isfinite(error)
    if known.sum() < 2 * config.least_points:
        return
    limit = max(config.core_factor * float(np.quantile(error[known], 0.3)), config.core_least)
    if (error[known] < limit).sum() >= config.least_points:
        points[known & (error >= limit)] = np.nan


def track_errors(xy: Array, seen: NDArray[np.bool_], K: Array, poses: Array, points: Array) -> Array:
    """(P,) median reprojection error of each track in pixels, NaN where its point or all its frames are unknown."""
    frames, tracks, observed, length = _known(xy, seen, K, poses, points)
    table = np.full((len(tracks), len(frames)), np.nan)
    table[observed.point, observed.frame] = length
    error = np.full(len(points), np.nan)
    some = np.isfinite(table).any(axis=1)
    error[tracks[some]] = np.nanmedian(table[some], axis=1)
    return error


def _border(known: NDArray[np.bool_]) -> list[int]:
    near = np.zeros_like(known)
    near[1:] |= known[:-1]
    near[:-1] |= known[1:]
    return [int(f) for f in np.flatnonzero(near & ~known)]


def place(points: Array, xy: Array, seen: NDArray[np.bool_], K: Array, guess: Array, config: ObjectSfmConfig) -> Array | None:
    """(4, 4) object-to-camera pose of one frame from known points, starting at `guess`; None if it sees too few or fits badly."""
    own = np.flatnonzero(seen & np.isfinite(points[:, 0]))
    if len(own) < config.least_points:
        return None
    observed = Observations(np.zeros(len(own), np.int64), np.arange(len(own)), xy[own], np.ones(len(own)), K[None])
    poses, _, _ = bundle_adjust(guess[None], points[own], observed, replace(config.bundle, iterations=40, move_points=False))
    error = np.linalg.norm(residuals(poses, points[own], observed), axis=1)
    return poses[0] if float(np.median(error)) < 2 * config.outlier else None


def _triangulate(xy: Array, seen: NDArray[np.bool_], K: Array, poses: Array, points: Array, config: ObjectSfmConfig) -> None:
    """Give a place to unknown tracks seen in at least three known frames from directions far enough apart, in place."""
    placed = np.flatnonzero(np.isfinite(poses[:, 0, 0]))
    middle = np.nanmedian(points, axis=0) if np.isfinite(points).any() else np.zeros(3)
    tracks = np.flatnonzero(~np.isfinite(points[:, 0]) & (seen[:, placed].sum(axis=1) >= 3))
    if not len(tracks):
        return
    there, K, rotation, shift = seen[tracks][:, placed], K[placed], poses[placed, :3, :3], poses[placed, :3, 3]
    pixel = xy[tracks][:, placed]
    rays = np.concatenate([pixel, np.ones((*pixel.shape[:2], 1))], axis=2)[..., None, :] @ np.linalg.inv(K).transpose(0, 2, 1) @ rotation
    direction = rays[..., 0, :] / np.linalg.norm(rays[..., 0, :], axis=2, keepdims=True) * there[..., None]  # in the object's frame, (N, F, 3)
    origin = -np.einsum("fji,fj->fi", rotation, shift)
    both = there[:, :, None] & there[:, None, :]
    widest = np.arccos(np.clip(np.where(both, direction @ direction.transpose(0, 2, 1), 1.0).min(axis=(1, 2)), -1, 1))
    count = there.sum(axis=1)
    outside = count[:, None, None] * np.eye(3) - direction.transpose(0, 2, 1) @ direction
    side = there @ origin - np.einsum("nfi,nf->ni", direction, np.einsum("nfi,fi->nf", direction, origin))
    weight = 1e-4 * count[:, None]
    found = np.linalg.solve(outside + weight[..., None] * np.eye(3), (side + weight * middle)[..., None])[..., 0]
    depth = found @ rotation[:, 2].T + shift[:, 2]
    track, frame = np.nonzero(there)
    observed = Observations(frame, track, pixel[there], np.ones(len(track)), K)
    error = np.full(there.shape, np.nan)
    error[there] = np.linalg.norm(residuals(poses[placed], found, observed), axis=1)
    good = (widest >= config.least_angle) & (np.where(there, depth, 1.0) > 0).all(axis=1) & (np.nanmedian(error, axis=1) < config.outlier)
    points[tracks[good]] = found[good]


def _bundle_known(xy: Array, seen: NDArray[np.bool_], K: Array, poses: Array, points: Array, config: ObjectSfmConfig, iterations: int) -> None:
    """Bundle adjust what is known, in place; observations far off are left out first."""
    frames, tracks, observed, error = _known(xy, seen, K, poses, points)
    near = observed.of(error < 4 * config.outlier)
    if not len(near.frame):
        return
    poses[frames], points[tracks], _ = bundle_adjust(poses[frames], points[tracks], near, replace(config.bundle, iterations=iterations))
    left = np.bincount(near.point, minlength=len(tracks))
    points[tracks[left < 3]] = np.nan


def _finish(
    xy: Array,
    visible: NDArray[np.bool_],
    K: Array,
    frames: NDArray[np.int64],
    chosen: NDArray[np.int64],
    grown: tuple[Array, Array, float],
    config: ObjectSfmConfig,
) -> RigidObject | None:
    key_poses, points, share = grown
    poses = np.full((xy.shape[1], 4, 4), np.nan)
    poses[frames] = key_poses
    known = np.flatnonzero(np.isfinite(poses[:, 0, 0]))
    for frame in np.setdiff1d(np.arange(xy.shape[1]), frames):
        pose = place(points, xy[:, frame], visible[:, frame], K[frame], poses[known[np.abs(known - frame).argmin()]], config)
        if pose is not None:
            poses[frame] = pose
    known, tracks, _, error = _known(xy, visible, K, poses, points)
    if len(known) < 3 or len(tracks) < config.least_points:
        return None
    rotation = poses[known, :3, :3]
    angles = np.arccos(np.clip((np.einsum("fij,gij->fg", rotation, rotation) - 1) / 2, -1, 1))
    middle = np.median(points[tracks], axis=0)
    poses[:, :3, 3] += poses[:, :3, :3] @ middle
    return RigidObject(poses, points[tracks] - middle, chosen[tracks], float(np.median(error)), share, float(angles.max()))
