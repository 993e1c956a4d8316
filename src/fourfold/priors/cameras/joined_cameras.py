"""The `Cameras` of several views of which at least one travels: each solved alone, joined where one sees what another followed, bundled as one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.notices import fallback
from fourfold.priors.cameras.bundle_system import Solved
from fourfold.priors.cameras.camera_score import score
from fourfold.priors.cameras.camera_search import SearchNumbers, find_cameras
from fourfold.priors.cameras.film_cameras import PROVIDER, hinted_focal, lens_matrix
from fourfold.priors.cameras.joined_views import Placed, joined_views, one_view
from fourfold.priors.cameras.spread_tracks import Film, SpreadNumbers, spread
from fourfold.priors.cameras.track_bundle import BundleNumbers, Freedom, bundle
from fourfold.priors.cameras.track_places import PlaceNumbers, parallax_degrees, placed, sure_points
from fourfold.priors.cameras.turned_start import standing_start
from fourfold.priors.contracts import Cameras, LongTracks, Provenance


@dataclass(frozen=True)
class JointNumbers:
    """Numbers of the common adjustment.

    Attributes:
        stands: explained share from which on a view stands still.
        most: tracks of the adjustment, beside all that two views see.
        fine: the adjustment.
        distance: what the median distance of the points becomes, scene units.
    """

    stands: float = 0.6
    most: SpreadNumbers = field(default_factory=lambda: SpreadNumbers(per=4))
    fine: BundleNumbers = field(default_factory=lambda: BundleNumbers(iterations=60, scale=0.25, lenient=4.0, tolerance=5e-6))
    distance: float = 10.0


def cameras_of_views(
    capture: Capture, tracks: LongTracks, film: Film, search: SearchNumbers, numbers: JointNumbers = JointNumbers()
) -> Cameras | None:
    """The prior, views that cannot be placed left unknown; None where no view travels, so that tracks say nothing about the cameras."""
    moving: list[tuple[float, int, Solved]] = []
    standing: list[int] = []
    for view in (int(v) for v in np.unique(film.frames[:, 0])):
        alone, _ = one_view(film, view)
        if len(alone.frames) < 2 or _stands(alone, numbers):
            standing.append(view)
            continue
        best = find_cameras(alone, hinted_focal(capture, alone), search).best
        if best.kind == "fixed":
            standing.append(view)
        else:
            explained = best.score.value * len(alone.frames)  # a film of few frames is explained by anything
            moving.append((explained * (best.kind == "estimated"), view, best.solved))
    moving.sort(key=lambda m: (-m[0], m[1]))
    if not moving or moving[0][0] == 0:
        return None
    joined = joined_views(capture, tracks, film, {view: solved for _, view, solved in moving}, standing)
    return _prior(capture, _adjusted(joined, numbers), standing, numbers)


def _stands(alone: Film, numbers: JointNumbers) -> bool:
    seen = alone.seen.of(spread(alone, alone.seen))
    if not seen.tracks:
        return True
    focal = np.array([alone.sizes[0, 0]])
    rests = bundle(seen, standing_start(seen, focal), Freedom(travel=False, turn=False, focal=False), BundleNumbers(iterations=10)).solved
    return score(alone, seen, rests).explained > numbers.stands


def _adjusted(joined: Placed, numbers: JointNumbers) -> Placed:
    """One bundle over evenly spread tracks and all that two views see."""
    film = joined.film
    first, last = film.seen.first[:-1], film.seen.first[1:] - 1
    lens = film.seen.lens_of[film.seen.frame]
    keep = spread(film, film.seen, numbers.most) | (lens[first] != lens[last])
    seen = film.seen.of(keep)
    start = replace(joined.solved, direction=joined.solved.direction[keep], inverse=joined.solved.inverse[keep])
    found = bundle(seen, start, Freedom(), numbers.fine).solved
    return replace(joined, solved=placed(film.seen, found))


def _prior(capture: Capture, joined: Placed, standing: list[int], numbers: JointNumbers, places: PlaceNumbers = PlaceNumbers()) -> Cameras:
    film, at = joined.film, joined.solved
    sure, errors = sure_points(film.seen, at, places)
    unit = numbers.distance / float(np.median(1 / at.inverse[sure])) if sure.any() else 1.0
    K, poses = np.full((*capture.present.shape, 3, 3), np.nan), np.full((*capture.present.shape, 4, 4), np.nan)
    for (view, time), rotation, translation in zip(film.frames, at.rotation, at.translation, strict=True):
        times: NDArray[np.bool_] = capture.present[view] if view in standing else np.arange(capture.times) == time
        K[view] = lens_matrix(capture, film, int(view), float(at.focal[view]))
        poses[view, times] = np.vstack([np.concatenate([rotation, unit * translation[:, None]], axis=1), [0, 0, 0, 1]])
    points = (at.direction / at.inverse[:, None] * unit)[sure].astype(np.float32)
    figures, notes = _told(capture, joined, int(sure.sum()))
    scale = float(film.unit.mean())
    arrays = points, (errors[sure] / scale).astype(np.float32), film.seen.lengths[sure].astype(np.int32)
    return Cameras(Provenance(PROVIDER, notes=notes, figures=figures), K, poses, *arrays)


def _told(capture: Capture, joined: Placed, points: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    film, at = joined.film, joined.solved
    judged = score(film, film.seen, at)
    lens = film.seen.lens_of[film.seen.frame]
    shared = int((lens[film.seen.first[:-1]] != lens[film.seen.first[1:] - 1]).sum())
    views = np.unique(film.frames[:, 0])
    figures: dict[str, Any] = {
        "source": "estimated",
        "score": round(judged.value, 4),
        "explained": round(judged.explained, 4),
        "focal_px_at_640": [round(float(at.focal[v]), 2) for v in views],
        "parallax_degrees": round(parallax_degrees(film.seen, at), 3),
        "shared_tracks": shared,
        "interpolated": [],
        "points": points,
    }
    notes = [f"{len(views)} cameras joined by {shared} tracks that two of them see, which explains {judged.explained:.0%} of the area and duration"]
    if joined.lost:
        names = ", ".join(capture.view_names[v] for v in joined.lost)
        notes.append(f"the cameras {names} share too few points with the others to be placed and are left out: give their calibration")
        fallback(notes[-1])
        figures["cameras_left_out"] = [capture.view_names[v] for v in joined.lost]
    return figures, tuple(notes)
