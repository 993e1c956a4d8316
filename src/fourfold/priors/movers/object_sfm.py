"""Structure from motion of one moving object: its points and its pose to the camera in every frame, up to scale.

A body before a camera is a film of which the body is the world: the bundle of tracks that finds cameras finds it, with a lens that is known.
Source: spec calibration.md section E ("each large mover is an SfM problem of its own").
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fourfold.priors.cameras.bundle_system import Sightings, Solved, residuals
from fourfold.priors.cameras.grown_start import GrowthNumbers, grow, lasting_window, within
from fourfold.priors.cameras.track_bundle import BundleNumbers, Freedom, bundle, track_errors
from fourfold.priors.cameras.track_places import PlaceNumbers, sure_points
from fourfold.priors.cameras.turned_start import turned_start

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ObjectSfmConfig:
    """Numbers of the object's structure from motion.

    Attributes:
        max_points: tracks used, the longest ones.
        lasting: share of the middle frame's tracks that the ends of the first window must still hold.
        relief: standard deviation of the logarithm of the points' distances at the start; each shape is tried inside out, too.
        starts: shapes at random.
        first, last: adjustments of the first window and in the end.
        growth: frame by frame outwards from the window.
        least_points: well explained points a frame must see to be placed, and tracks without which nothing can be said.
        explained: pixels; observations with a smaller error count as explained by a rigid body.
        core: a track whose error is below this factor times the best third's, or below `core_least` pixels, belongs to the rigid core.
        places: which tracks are points of the body.
    """

    max_points: int = 700
    lasting: float = 0.85
    relief: float = 0.1
    starts: int = 2
    first: BundleNumbers = field(default_factory=lambda: BundleNumbers(iterations=60, scale=0.5, lenient=4.0, pull=1e-3))
    last: BundleNumbers = field(default_factory=lambda: BundleNumbers(iterations=80, scale=0.5, pull=1e-4, tolerance=5e-6))
    growth: GrowthNumbers = field(default_factory=lambda: GrowthNumbers(reach=0.15, later=BundleNumbers(iterations=12, tolerance=1e-4)))
    least_points: int = 10
    explained: float = 1.5
    core: float = 2.0
    core_least: float = 0.3
    places: PlaceNumbers = field(default_factory=lambda: PlaceNumbers(shortest=3))


@dataclass(frozen=True)
class RigidObject:
    """A rigid object in its own frame and scale.

    Attributes:
        object_to_camera: (F, 4, 4), NaN where the frame could not be placed.
        points: (P, 3); origin near the centre.
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


def solve_object(xy: Array, visible: NDArray[np.bool_], K: Array, config: ObjectSfmConfig | None = None) -> RigidObject | None:
    """Rigid shape and motion from the tracks of one object.

    Args:
        xy: (P, F, 2) pixels, pixel centres at +0.5.
        visible: (P, F) bool.
        K: (F, 3, 3) intrinsics.

    Returns:
        None where too few tracks live long enough to say anything.
    """
    config = config or ObjectSfmConfig()
    chosen = np.argsort(-visible.sum(axis=1), kind="stable")[: config.max_points]
    chosen = chosen[visible[chosen].sum(axis=1) >= 3]
    count = visible[chosen].sum(axis=0)
    if len(chosen) < config.least_points or (count >= config.least_points).sum() < 3:
        return None
    frames = np.arange(*(np.flatnonzero(count >= config.least_points)[[0, -1]] + [0, 1]))
    chosen = chosen[visible[chosen][:, frames].sum(axis=1) >= 3]
    seen, focal = _sightings(xy[chosen][:, frames], visible[chosen][:, frames], K[frames])
    at = _solved(seen, focal, config)
    return None if at is None else _object(seen, at, frames, (xy.shape[1], chosen), config)


def _sightings(xy: Array, visible: NDArray[np.bool_], K: Array) -> tuple[Sightings, float]:
    """The observations as one lens without principal point sees them, in pixels of the mean focal length."""
    track, frame = np.nonzero(visible)
    focal = float(K[:, 0, 0].mean())
    rays = np.concatenate([xy[track, frame], np.ones((len(track), 1))], axis=1)
    rays = np.einsum("mij,mj->mi", np.linalg.inv(K)[frame], rays)
    first = np.concatenate([[0], np.cumsum(visible.sum(axis=1))])
    return Sightings(focal * rays[:, :2], frame.astype(np.int32), first, np.zeros(visible.shape[1], np.int32), np.zeros((1, 2))), focal


def _solved(seen: Sightings, focal: float, config: ObjectSfmConfig) -> Solved | None:
    """Poses and points of all frames: the best start of the window whose tracks last, grown outwards."""
    begin, end = lasting_window(seen, config.lasting, config.growth.smallest)
    frames = np.arange(seen.frames)
    inside = (frames >= begin) & (frames < end)
    part, _ = within(seen, inside, min(config.growth.shortest, int(inside.sum())))
    if part.tracks < config.least_points:
        return None
    freedom = Freedom(focal=False, frames=inside & (frames != begin))
    turned = turned_start(part, np.array([focal]))
    random = np.random.default_rng(0)
    best = None
    for _ in range(config.starts):
        relief = np.exp(config.relief * random.normal(size=part.tracks))
        for inverse in (relief, 1 / relief):
            found = bundle(part, replace(turned, inverse=inverse), freedom, config.first)
            best = found if best is None or found.cost < best.cost else best
    assert best is not None
    at = grow(seen, (begin, end), best.solved, Freedom(focal=False), config.growth)
    return bundle(seen, at, Freedom(focal=False), config.last).solved


def _object(seen: Sightings, at: Solved, frames: NDArray[np.int64], of: tuple[int, NDArray[np.int64]], config: ObjectSfmConfig) -> RigidObject | None:
    """The rigid core of a solution, its origin in the middle of its points; `of`: number of all frames, and of the tracks in `seen`."""
    r = residuals(seen, at)
    off = np.hypot(r[:, 0], r[:, 1])
    inliers = float((off < config.explained).mean())
    error = track_errors(seen, off**2)
    limit = max(config.core * float(np.quantile(error, 0.3)), config.core_least)
    core = sure_points(seen, at, replace(config.places, error=limit))[0]
    held = np.bincount(seen.frame[core[seen.track] & (off < 2 * config.explained)], minlength=seen.frames) >= config.least_points
    if core.sum() < config.least_points or held.sum() < 3:
        return None
    points = at.direction[core] / at.inverse[core, None]
    middle = np.median(points, axis=0)
    poses = np.full((of[0], 4, 4), np.nan)
    poses[frames[held]] = np.eye(4)
    poses[frames[held], :3, :3] = at.rotation[held]
    poses[frames[held], :3, 3] = at.translation[held] + at.rotation[held] @ middle
    angles = np.arccos(np.clip((np.einsum("fij,gij->fg", at.rotation[held], at.rotation[held]) - 1) / 2, -1, 1))
    return RigidObject(poses, points - middle, of[1][core], float(np.median(off[core[seen.track]])), inliers, float(angles.max()))
