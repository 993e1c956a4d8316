"""Several cameras of which at least one travels: each travelling one is solved alone, the rest are placed by the points that they see too.

A moving camera's own solution differs from the others by a similarity; a standing one has one pose. Where tracks of one camera are seen by
another tells both, and in the end one bundle over all tracks and those sightings adjusts everything.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourfold.capture.capture import Capture
from fourfold.priors.cameras.bundle_system import Array, Sightings, Solved
from fourfold.priors.cameras.spread_tracks import Film
from fourfold.priors.cameras.track_places import placed
from fourfold.priors.contracts import LongTracks
from fourfold.priors.tracking.long_track_sightings import Sightings as SeenAgain
from fourfold.priors.tracking.long_track_sightings import sightings


@dataclass(frozen=True)
class JoinNumbers:
    """Numbers of the joining; pixels are those of an image whose longer side has 640.

    Attributes:
        moments: images of a moving camera in which others' tracks are looked for.
        steps: how many of those moments apart, either way, two moving cameras' images are compared: things look alike at one moment, and what
            one camera saw another may see later.
        near: pixels within which a point agrees with a pose.
        fewest: points that must agree.
        focals: focal lengths tried for a standing camera, image widths, beside those of the others.
        rounds: random samples of a pose.
        twist: degrees by which the turns that several images tell may differ from their common one.
    """

    moments: int = 6
    steps: tuple[int, ...] = (0, 1, 2, 4)
    near: float = 3.0
    fewest: int = 15
    focals: tuple[float, ...] = (0.6, 0.8, 1.1, 1.6)
    rounds: int = 2000
    twist: float = 5.0


@dataclass(frozen=True)
class Placed:
    """The views that are placed in one world: film with their frames, the solution over all its tracks, and the views that could not be placed."""

    film: Film
    solved: Solved
    lost: tuple[int, ...]


@dataclass(frozen=True)
class _World:
    """What is placed so far: pose (4, 4) by (view, time), focal length by view, and points (P, 3) by track number."""

    poses: dict[tuple[int, int], Array] = field(default_factory=dict)
    focals: dict[int, float] = field(default_factory=dict)
    points: dict[int, Array] = field(default_factory=dict)


def one_view(film: Film, view: int) -> tuple[Film, NDArray[np.intp]]:
    """The film of one view alone, and the numbers of its tracks."""
    frames = np.flatnonzero(film.frames[:, 0] == view)
    seen, of_view = film.seen, film.frames[film.seen.frame[film.seen.first[:-1]], 0] == view
    part = seen.of(of_view)
    alone = Sightings(part.xy, part.frame - np.int32(frames[0]), part.first, np.zeros(len(frames), np.int32), seen.centre[view : view + 1])
    return Film(alone, film.frames[frames], film.sizes[view : view + 1], film.unit[view : view + 1]), np.flatnonzero(of_view)


def joined_views(
    capture: Capture, tracks: LongTracks, film: Film, moving: dict[int, Solved], standing: list[int], numbers: JoinNumbers = JoinNumbers()
) -> Placed:
    """Place all views in the world of the first of `moving`.

    Args:
        film: of all views, its tracks those of `tracks`.
        moving: by view, the most reliable first, the solution of its frames alone (`one_view`).
        standing: views that stand still.
    """
    again = _seen_again(capture, tracks, film, list(moving), standing, numbers)
    first = next(iter(moving))
    world, left = _added(_World(), film, first, moving[first]), [*list(moving)[1:], *standing]
    while left:
        found = [(view, _place_view(film, view, moving.get(view), world, again, numbers)) for view in left]
        best = max(found, key=lambda f: f[1][1])
        if best[1][1] < numbers.fewest:
            break
        world = best[1][0]
        left.remove(best[0])
    return _whole(film, world, again, tuple(left))


def _moments(film: Film, view: int, count: int) -> NDArray[np.int64]:
    times = film.frames[film.frames[:, 0] == view, 1]
    return np.unique(times[np.linspace(0, len(times) - 1, min(count, len(times))).round().astype(int)])


def _seen_again(
    capture: Capture, tracks: LongTracks, film: Film, moving: list[int], standing: list[int], numbers: JoinNumbers
) -> dict[tuple[int, int], SeenAgain]:
    """Sightings by the image (view, time) in which the tracks are seen."""
    times = {v: _moments(film, v, numbers.moments) for v in moving} | {v: _middle(film, v) for v in standing}
    order = [*moving, *standing]
    rows = [
        (a, int(s), b, int(t))
        for i, a in enumerate(moving)
        for b in order[i + 1 :]
        for m, s in enumerate(times[a])
        for n, t in enumerate(times[b])
        if b in standing or abs(m - n) in numbers.steps
    ]
    found = sightings(capture, tracks, np.array(rows, np.int32).reshape(-1, 4))
    result: dict[tuple[int, int], SeenAgain] = {}
    for view, time in {(int(v), int(t)) for v, t in zip(found.view, found.time, strict=True)}:
        mine = (found.view == view) & (found.time == time)
        result[view, time] = SeenAgain(found.track[mine], found.view[mine], found.time[mine], found.xy[mine] * film.unit[view].astype(np.float32))
    return result


def _middle(film: Film, view: int) -> NDArray[np.int64]:
    times = film.frames[film.frames[:, 0] == view, 1]
    return times[[len(times) // 2]]


def _added(world: _World, film: Film, view: int, solved: Solved) -> _World:
    """The world with a moving view whose solution is already in it."""
    alone, numbers = one_view(film, view)
    at = placed(alone.seen, solved)
    points = at.direction / at.inverse[:, None]
    poses = {(view, int(t)): _pose(r, s) for t, r, s in zip(alone.frames[:, 1], solved.rotation, solved.translation, strict=True)}
    return _World(
        world.poses | poses, world.focals | {view: float(solved.focal[0])}, world.points | {int(n): p for n, p in zip(numbers, points, strict=True)}
    )


def _pose(rotation: Array, translation: Array) -> Array:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, translation
    return pose


def _place_view(
    film: Film, view: int, own: Solved | None, world: _World, again: dict[tuple[int, int], SeenAgain], numbers: JoinNumbers
) -> tuple[_World, int]:
    """The world with `view` in it and the number of points that agree; the world as it was and 0 where it cannot be placed."""
    width = float(film.sizes[view, 0])
    focals = [float(own.focal[0])] if own is not None else [*world.focals.values(), *(f * width for f in numbers.focals)]
    images: dict[int, tuple[Array, int, float]] = {}
    for (v, time), seen in again.items():
        rows = [i for i, n in enumerate(seen.track) if v == view and int(n) in world.points]
        if len(rows) < numbers.fewest:
            continue
        points = np.array([world.points[int(seen.track[i])] for i in rows])
        tries = [(*_resected(points, seen.xy[rows].astype(np.float64), f, film.seen.centre[view], numbers), f) for f in focals]
        best = max(tries, key=lambda t: t[1])
        if best[1] >= numbers.fewest:
            images[time] = best
    if not images:
        return world, 0
    if own is None:
        time, (pose, count, focal) = max(images.items(), key=lambda item: item[1][1])
        return replace(world, poses=world.poses | {(view, time): pose}, focals=world.focals | {view: focal}), count
    alone, _ = one_view(film, view)
    rows = [int(np.flatnonzero(alone.frames[:, 1] == t)[0]) for t in images]
    moved, agreeing = _carried_over(own, rows, [p for p, _, _ in images.values()], numbers)
    if moved is None:
        return world, 0
    return _added(world, film, view, moved), sum(n for (_, n, _), good in zip(images.values(), agreeing, strict=True) if good)


def _resected(points: Array, xy: Array, focal: float, centre: Array, numbers: JoinNumbers) -> tuple[Array, int]:
    """World to camera (4, 4) of an image that sees points (P, 3) at xy (P, 2), and how many agree."""
    K = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1.0]])
    cv2.setRNGSeed(0)
    try:
        done, turn, shift, inliers = cv2.solvePnPRansac(
            points, xy, K, None, iterationsCount=numbers.rounds, reprojectionError=numbers.near, confidence=0.999, flags=cv2.SOLVEPNP_SQPNP
        )
    except cv2.error:  # OpenCV asserts on degenerate samples
        return np.eye(4), 0
    if not done or inliers is None or len(inliers) < 6:
        return np.eye(4), 0
    chosen = inliers.ravel()
    turn, shift = cv2.solvePnPRefineLM(points[chosen], xy[chosen], K, None, turn, shift)
    return _pose(cv2.Rodrigues(turn)[0], shift.ravel()), len(chosen)


def _carried_over(own: Solved, rows: list[int], poses: list[Array], numbers: JoinNumbers) -> tuple[Solved | None, NDArray[np.bool_]]:
    """A view's own solution in the world in which some of its frames, `rows`, have the given poses, and which of these agree; None where
    their places do not tell a scale."""
    target = np.stack(poses)
    turns = Rotation.from_matrix(np.einsum("kji,kjl->kil", target[:, :3, :3], own.rotation[rows]))  # own world to world
    votes = [np.degrees((turns * t.inv()).magnitude()) < numbers.twist for t in turns]
    agree = votes[int(np.argmax([v.sum() for v in votes]))]
    turn = turns[agree].mean().as_matrix()
    centres = -np.einsum("kji,kj->ki", own.rotation[rows], own.translation[rows]) @ turn.T
    wanted = -np.einsum("kji,kj->ki", target[:, :3, :3], target[:, :3, 3])
    a, b = centres[agree] - centres[agree].mean(0), wanted[agree] - wanted[agree].mean(0)
    scale = float((a * b).sum() / max(float((a**2).sum()), 1e-12))
    if agree.sum() < 2 or not scale > 1e-6:
        return None, agree
    shift = wanted[agree].mean(0) - scale * centres[agree].mean(0)
    rotation = own.rotation @ turn.T
    translation = scale * own.translation - rotation @ shift
    return replace(own, rotation=rotation, translation=translation, inverse=own.inverse / scale), agree


def _whole(film: Film, world: _World, again: dict[tuple[int, int], SeenAgain], lost: tuple[int, ...]) -> Placed:
    """One film of all placed images, whose tracks hold the sightings of other views, and where everything is."""
    keys = sorted(world.poses)
    index = {key: i for i, key in enumerate(keys)}
    old = np.array([index.get((int(v), int(t)), -1) for v, t in film.frames])
    seen = film.seen
    track, frame, xy = [seen.track], [old[seen.frame]], [seen.xy]
    for key, extra in again.items():
        if key in index:
            track.append(extra.track.astype(np.int64))
            frame.append(np.full(len(extra.track), index[key]))
            xy.append(extra.xy.astype(np.float64))
    tracks, frames, places = np.concatenate(track), np.concatenate(frame), np.concatenate(xy)
    keep = (frames >= 0) & np.isin(tracks, np.fromiter(world.points, np.int64))
    tracks, frames, places = tracks[keep], frames[keep], places[keep]
    order = np.lexsort((np.arange(len(tracks)), frames, tracks))
    tracks, frames, places = tracks[order], frames[order], places[order]
    fresh = np.concatenate([[True], (tracks[1:] != tracks[:-1]) | (frames[1:] != frames[:-1])])  # the same image tells a track but once
    tracks, frames, places = tracks[fresh], frames[fresh], places[fresh]
    _, lengths = np.unique(tracks, return_counts=True)
    starts, views = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), np.array([v for v, _ in keys], np.int32)
    whole = Sightings(places, frames.astype(np.int32), starts, views, seen.centre)
    poses = np.stack([world.poses[k] for k in keys])
    focal = np.array([world.focals.get(v, film.sizes[v, 0]) for v in range(len(film.sizes))])
    distance = np.linalg.norm(np.stack(list(world.points.values())), axis=1)
    usual = np.full(1, 1 / max(float(np.median(distance)), 1e-9))
    cameras = Solved(poses[:, :3, :3], poses[:, :3, 3], np.zeros((1, 3)), usual, focal, np.zeros(len(focal)))
    return Placed(replace(film, seen=whole, frames=np.array(keys, np.int32)), placed(whole, cameras), lost)
