"""2D and 3D tracks of a synthetic capture against the exact paths of the very points they follow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.evaluation.bench_priors_scores import Figures, Judge
from fourfold.evaluation.prior_scores import camera_similarity
from fourfold.evaluation.track_metrics import IPHONE_PIXELS, TAP_VID_RASTER, pixel_distance, score_tracks, score_tracks3d, without_queries
from fourfold.priors.contracts import Tracks2D, Tracks3D

Flags = NDArray[np.bool_]

QUERY_STRIDE = 5
"""Moments between the queries at which the truth's own points are asked for (TAP-Vid's strided mode)."""
ANSWER_REACH = 6.0
"""Pixels of the 256 x 256 raster within which a seen track answers for a queried point; beyond it the point counts as never seen."""
SEEN = 0.5
"""Visibility above which a track counts as seen."""


def score_tracks2d(tracks: Tracks2D, judge: Judge) -> Figures | None:
    """TAP-Vid figures of the tracks themselves on movers and on the rest, and of the truth's points answered by the nearest track.

    `aj`, `delta_avg`, `oa`: the provider's own tracks on movers against the exact path of the pixel each was started at. `aj_points`,
    `oa_points`: points spread evenly over the movers, asked at every 5th moment, answered by the nearest seen track moved by its distance;
    `unanswered`: percent of questions without one within reach (they count as never seen). `aj_still`: own tracks on what rests.
    `aj_4_64`: own tracks on movers by the iPhone protocol's 4 to 64 px of the image as it is. Query moments are left out everywhere.
    """
    distance, pixels, seen, true, judged, moving = _own(tracks, judge)
    figures: Figures = {"tracks": float(len(distance))}
    own = score_tracks(distance[moving], seen[moving], true[moving], judged[moving])
    if own is None:
        return None
    figures |= {"aj": own.aj, "delta_avg": own.delta_avg, "oa": own.oa}
    asked, unanswered = _asked(tracks, judge)
    points = score_tracks(*asked)
    figures |= {"aj_points": points.aj, "delta_points": points.delta_avg, "oa_points": points.oa} if points else {}
    figures["unanswered"] = unanswered
    still = score_tracks(distance[~moving], seen[~moving], true[~moving], judged[~moving])
    figures["aj_still"] = still.aj if still else None
    wide = score_tracks(pixels[moving], seen[moving], true[moving], judged[moving], IPHONE_PIXELS)
    figures["aj_4_64"] = wide.aj if wide else None
    return figures


def _own(tracks: Tracks2D, judge: Judge) -> tuple[NDArray[np.float64], NDArray[np.float64], Flags, Flags, Flags, Flags]:
    """Distances in the raster and in pixels, seen, truly seen, judged (P, T), and whether each point (P,) is on a mover."""
    count, times = tracks.xy.shape[:2]
    distance, pixels = np.zeros((count, times)), np.zeros((count, times))
    true, moving = np.zeros((count, times), bool), np.zeros(count, bool)
    for view, query in np.unique(np.stack([tracks.view, tracks.query_time], 1), axis=0).tolist():
        own = np.flatnonzero((tracks.view == view) & (tracks.query_time == query))
        paths = judge.scene.paths(view, query, tracks.xy[own, query])
        size = int(judge.capture.sizes[view, 0]), int(judge.capture.sizes[view, 1])
        distance[own], pixels[own] = (pixel_distance(tracks.xy[own], paths.xy, size, raster) for raster in (TAP_VID_RASTER, None))
        true[own], moving[own] = paths.seen, paths.object_id > 0
    judged = without_queries(judge.capture.train[tracks.view], tracks.query_time)
    return distance, pixels, tracks.visibility > SEEN, true, judged, moving


def _asked(tracks: Tracks2D, judge: Judge) -> tuple[tuple[NDArray[np.float64], Flags, Flags, Flags], float]:
    """Distance, seen, truly seen and judged (Q, T) of the truth's points asked at every few moments, and the percent left unanswered."""
    truth, parts, missed = judge.scene.truth, [], 0
    for view in judge.trained:
        mine = np.flatnonzero(tracks.view == view)
        size = int(judge.capture.sizes[view, 0]), int(judge.capture.sizes[view, 1])
        for query in np.flatnonzero(judge.capture.train[view])[::QUERY_STRIDE]:
            points = np.flatnonzero(truth.visibility[view, :, query])
            live = mine[tracks.visibility[mine, query] > SEEN]
            place = truth.xy[view, points, query]
            away = pixel_distance(place[:, None], tracks.xy[None, live, query], size) if len(live) else np.full((len(points), 1), np.inf)
            nearest, far = away.argmin(axis=1), away.min(axis=1) > ANSWER_REACH
            missed += int(far.sum())
            if len(live):
                row = live[nearest]
                answer, seen = tracks.xy[row] + (place - tracks.xy[row, query])[:, None], (tracks.visibility[row] > SEEN) & ~far[:, None]
            else:
                answer, seen = np.repeat(place[:, None], judge.capture.times, 1), np.zeros((len(points), judge.capture.times), bool)
            distance = np.where(far[:, None], np.inf, pixel_distance(answer, truth.xy[view, points], size))
            judged = without_queries(np.repeat(judge.capture.train[view][None], len(points), 0), np.full(len(points), query))
            parts.append((distance, seen, truth.visibility[view, points], judged))
    joined = tuple(np.concatenate([p[i] for p in parts]) for i in range(4))
    return (joined[0], joined[1], joined[2], joined[3]), 100 * missed / max(1, len(joined[0]))


def score_space_tracks(tracks: Tracks3D, judge: Judge) -> Figures | None:
    """3D end-point errors at training moments, the moment of the query excluded, after the similarity of the camera centres.

    A track's point is the surface point of the movers that the camera sees at the track at the moment of its highest confidence, in the
    camera where the two are closest. `epe` metres mean over moments when some training camera sees the point (with `median`, `near_5cm`,
    `near_10cm` percent), `epe_hidden` when none does, `median_share` the median as percent of the object's diameter.
    """
    truth, train = judge.scene.truth, judge.capture.train
    if not len(tracks.xyz):
        return None
    pose = judge.capture.world_to_camera[train]
    known = np.isfinite(pose).all(axis=(1, 2))
    if known.sum() < 2 and judge.capture.cameras != "given":
        return None
    scale, rotation, translation = (1.0, np.eye(3), np.zeros(3))
    if judge.capture.cameras != "given":
        scale, rotation, translation = camera_similarity(pose[known], truth.world_to_camera[train][known])
    xyz = scale * tracks.xyz.astype(np.float64) @ rotation.T + translation
    query = np.where(train.any(axis=0), tracks.confidence.astype(np.float32) * (tracks.visibility > SEEN), -1).argmax(axis=1)
    path, seen, diameter = _true_paths(xyz, query, judge)
    error = np.linalg.norm(xyz - path, axis=2)
    judged = without_queries(np.repeat(train.any(axis=0)[None], len(xyz), 0), query)
    found, hidden, relative = (
        score_tracks3d(*a) for a in ((error, judged & seen), (error, judged & ~seen), (error / diameter[:, None], judged & seen))
    )
    if found is None or relative is None:
        return None
    figures: Figures = {"tracks": float(len(xyz)), "epe": found.epe, "median": found.median, "near_5cm": found.near_5, "near_10cm": found.near_10}
    return {**figures, "epe_hidden": hidden.epe if hidden else None, "median_share": 100 * relative.median}


def _true_paths(xyz: NDArray[np.float64], query: NDArray[np.intp], judge: Judge) -> tuple[NDArray[np.float64], Flags, NDArray[np.float64]]:
    """(P, T, 3) paths of the surface points that tracks follow, (P, T) whether a training camera sees them, (P,) diameter of their object."""
    scene, train = judge.scene, judge.capture.train
    count, times = xyz.shape[:2]
    owner, local, gap = np.zeros(count, np.int32), np.zeros((count, 3)), np.full(count, np.inf)
    for t in np.unique(query):
        rows = np.flatnonzero(query == t)
        for view in np.flatnonzero(train[:, t]):
            pixels, _ = scene.observe(int(view), int(t), xyz[rows, t])
            fine = np.isfinite(pixels).all(axis=1)
            hit, place = scene.first_hits(int(view), int(t), np.nan_to_num(pixels))
            distance = np.where(fine, np.linalg.norm(scene.places(hit, place, [int(t)])[:, 0] - xyz[rows, t], axis=1), np.inf)
            closer = distance < gap[rows]
            owner[rows[closer]], local[rows[closer]], gap[rows[closer]] = hit[closer], place[closer], distance[closer]
    path = scene.places(owner, local, list(range(times)))
    seen = np.zeros((count, times), bool)
    for view, t in np.argwhere(train):
        seen[:, t] |= scene.observe(int(view), int(t), path[:, t])[1]
    objects = np.array([s.object_id for s in scene.solids])[owner]
    sizes: dict[int, Any] = dict(zip(scene.truth.objects.tolist(), scene.truth.diameter.tolist(), strict=True))
    largest = max(sizes.values())
    return path, seen, np.array([sizes.get(int(o), largest) for o in objects])
