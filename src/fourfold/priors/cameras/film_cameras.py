"""The `Cameras` of a film from the answer that the search found: poses, lens, sparse points, and what is worth saying about them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourfold.capture.capture import Capture
from fourfold.notices import fallback
from fourfold.priors.cameras.bundle_system import Array, Solved, residuals
from fourfold.priors.cameras.camera_search import Answer, Found
from fourfold.priors.cameras.focal_deviation import focal_deviation
from fourfold.priors.cameras.lens_bend import lens_bend
from fourfold.priors.cameras.pose_path import interpolate_pose
from fourfold.priors.cameras.rolling_shutter import read_at_once, rolling_shutter
from fourfold.priors.cameras.spread_tracks import Film
from fourfold.priors.cameras.track_bundle import bundle
from fourfold.priors.cameras.track_places import PlaceNumbers, parallax_degrees, placed, sure_points
from fourfold.priors.cameras.turned_start import with_rotations
from fourfold.priors.contracts import Cameras, Provenance

PROVIDER = "bundle"


@dataclass(frozen=True)
class FilmNumbers:
    """What is made of an answer, and when something is said about it.

    Attributes:
        distance: what the median distance of the points becomes, scene units.
        fewest: observations within `near` pixels at 640 that a frame needs to be called placed; others are interpolated.
        near: see `fewest`.
        untold: relative standard deviation of a turning camera's focal length above which the usual one is taken instead.
        tie: share by which the score of a rival may be lower for its focal length to count into the error bar.
        usual: focal length in image widths where the images do not tell it (53 degrees of view).
        poor: explained share of the image below which a check speaks up.
        flat: degrees of parallax below which depth is said to be poorly known.
    """

    distance: float = 10.0
    fewest: int = 12
    near: float = 3.0
    untold: float = 0.25
    tie: float = 0.02
    usual: float = 1.0
    poor: float = 0.5
    flat: float = 2.0


def cameras_of(capture: Capture, film: Film, found: Found, numbers: FilmNumbers = FilmNumbers(), places: PlaceNumbers = PlaceNumbers()) -> Cameras:
    """The prior: cameras of every present frame of a film of one view, the tracks that are points, and figures with the runner-up."""
    best = found.best
    view = int(film.frames[0, 0])
    own = float(focal_deviation(best.seen, best.solved, best.freedom)[0]) if best.kind != "fixed" else float("inf")
    deviation, solved = _focal_error(found, own, numbers), best.solved
    if best.kind == "rotation" and own > numbers.untold:
        solved = _with_usual_lens(best, film, capture, numbers)
    points = np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.int64)
    if best.kind == "estimated":
        seen = film.seen.of(film.seen.lengths >= places.shortest)
        at = placed(seen, solved, places)
        sure, errors = sure_points(seen, at, places)
        unit = numbers.distance / float(np.median(1 / at.inverse[sure])) if sure.any() else 1.0
        solved = replace(solved, translation=solved.translation * unit, inverse=solved.inverse / unit)
        points = (at.direction / at.inverse[:, None] * unit)[sure], errors[sure] / film.unit[view].mean(), seen.lengths[sure]
    poses, guessed = _poses(capture, film, best, solved, numbers)
    K, world_to_camera = np.full((*capture.present.shape, 3, 3), np.nan), np.full((*capture.present.shape, 4, 4), np.nan)
    K[view], world_to_camera[view] = lens_matrix(capture, film, view, float(solved.focal[0])), poses
    figures = (
        _figures(capture, film, found, solved, deviation)
        | ({} if capture.facts.get("undistorted", False) else film_figures(film, best))
        | {"interpolated": [[view, t] for t in guessed], "points": len(points[0])}
    )
    notes = _notes(found, solved, figures, numbers)
    arrays = points[0].astype(np.float32), points[1].astype(np.float32), points[2].astype(np.int32)
    return Cameras(Provenance(PROVIDER, notes=notes, figures=figures), K, world_to_camera, *arrays)


def _focal_error(found: Found, own: float, numbers: FilmNumbers) -> float:
    """Relative standard deviation of the focal length: that of the tracks, `own`, and what rivals say that explain as much."""
    best = found.best
    alike = [a for a in found.others if a.kind != "fixed" and a.score.value > (1 - numbers.tie) * best.score.value]
    return float(np.hypot(own, max((abs(np.log(a.score.focal / best.score.focal)) for a in alike), default=0.0)))


def film_figures(film: Film, best: Answer) -> dict[str, Any]:
    """What the film does to its images: rows that are read one after the other, then what the lens bends beside that; `straighten` holds what is
    to be taken out, without the turns of the camera (`capture/film_lens.py`)."""
    rolling = rolling_shutter(film, best)
    if rolling is not None:
        best = replace(best, seen=read_at_once(best.seen, film, rolling.share, rolling.axis))
    share, gain = (0.0, 0.0) if rolling is None else (rolling.share, rolling.gain)
    told: dict[str, Any] = {"rolling_shutter": round(share, 3), "rolling_gain": round(gain, 4)}
    bend = lens_bend(film, best)
    if bend is None:
        return told
    told |= {"lens_bend": round(bend.k, 4), "lens_bend_gain": round(bend.gain, 4)}
    if rolling is None and not bend.pays:
        return told
    out = {"focal": bend.focal, "bend": bend.k} if bend.pays else {"focal": float(best.solved.focal[0] / film.sizes[0, 0]), "bend": 0.0}
    return told | {"straighten": out if rolling is None else out | {"rolling": rolling.share, "axis": rolling.axis}}


def lens_matrix(capture: Capture, film: Film, view: int, focal: float) -> Array:
    """(3, 3) intrinsics in pixels of the capture for a focal length in pixels at 640."""
    (across, down), (width, height) = film.unit[view], capture.sizes[view]
    return np.array([[focal / across, 0, width / 2], [0, focal / down, height / 2], [0, 0, 1.0]])


def _with_usual_lens(best: Answer, film: Film, capture: Capture, numbers: FilmNumbers) -> Solved:
    """A turning camera once more, its focal length fixed at what the file tells or at the usual one."""
    hint = hinted_focal(capture, film)
    focal = np.array([numbers.usual * film.sizes[0, 0] if hint is None else hint])
    start = with_rotations(best.seen, best.solved.rotation, focal)
    return bundle(best.seen, start, replace(best.freedom, focal=False)).solved


def hinted_focal(capture: Capture, film: Film) -> float | None:
    """What the files of the film's view say of its focal length, pixels at 640."""
    view = int(film.frames[0, 0])
    hint = float(capture.focal_hint[view])
    return hint * float(film.unit[view, 0]) if np.isfinite(hint) else None


def _poses(capture: Capture, film: Film, best: Answer, solved: Solved, numbers: FilmNumbers) -> tuple[Array, list[int]]:
    """World to camera (T, 4, 4) of the present frames, and the time indices that too few tracks place: those are interpolated."""
    error = np.linalg.norm(residuals(best.seen, solved), axis=1)
    held = np.bincount(best.seen.frame[error < numbers.near], minlength=best.seen.frames) >= numbers.fewest
    poses: NDArray[np.float64] = np.tile(np.eye(4), (best.seen.frames, 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = solved.rotation, solved.translation
    times = film.frames[:, 1]
    known = {int(t): pose for t, pose, good in zip(times, poses, held | (best.kind == "fixed"), strict=True) if good} or {int(times[0]): np.eye(4)}
    result, guessed = np.full((capture.times, 4, 4), np.nan), [int(t) for t in times if int(t) not in known]
    for t in times:
        result[t] = known[int(t)] if int(t) in known else interpolate_pose(known, capture.timestamps, int(t))
    return result, guessed


def _figures(capture: Capture, film: Film, found: Found, solved: Solved, deviation: float) -> dict[str, Any]:
    best, runner_up = found.best, found.others[0]
    widths = float(solved.focal[0] / film.sizes[0, 0])
    turn = float(np.degrees(Rotation.from_matrix(solved.rotation @ solved.rotation[0].T).magnitude().max()))
    figures: dict[str, Any] = {
        **_told(best),
        "focal_widths": widths,
        "focal_px": widths * float(capture.sizes[film.frames[0, 0], 0]),
        "focal_px_at_640": float(solved.focal[0]),
        "focal_deviation": deviation if np.isfinite(deviation) else None,
        "parallax_degrees": parallax_degrees(best.seen, solved),
        "turn_degrees": turn,
        "ground_order": best.score.ground,
        "depth_told": best.score.depth,
        "tracks": best.seen.tracks,
    }
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
    return {"source": best.kind, **rounded, "runner_up": {"source": runner_up.kind, **_told(runner_up)}}


def _told(answer: Answer) -> dict[str, Any]:
    return {"found": answer.found, "score": round(answer.score.value, 4), "explained": round(answer.score.explained, 4)}


def _notes(found: Found, solved: Solved, figures: dict[str, Any], numbers: FilmNumbers) -> tuple[str, ...]:
    best, runner_up = found.best, found.others[0]
    bar = "" if figures["focal_deviation"] is None else f" +- {figures['focal_px_at_640'] * figures['focal_deviation']:.0f}"
    focal = f"focal length {figures['focal_px_at_640']:.0f}{bar} px at 640 px image size"
    explained = f"{best.score.explained:.0%} of the image area and duration"
    scores = f"scores {best.score.value:.3f} and {runner_up.score.value:.3f}"
    second = f"; next best: {_WORDS[runner_up.kind]} with {runner_up.score.explained:.0%} ({scores})"
    turn, parallax = (f"{figures[name]:.1f} degrees" for name in ("turn_degrees", "parallax_degrees"))
    if best.kind == "fixed":
        note = f"the camera stood still, which explains {explained}: neither depth nor focal length can be known, {focal} is assumed{second}"
    elif best.kind == "rotation":
        note = f"the camera only turned ({turn}), which explains {explained}, so depth cannot be known; {focal}{second}"
    else:
        note = f"the camera travelled, which explains {explained}; {focal}, {parallax} of parallax{second}"
    if best.kind != "estimated":
        fallback(note)
    checks = [
        (best.score.explained < numbers.poor, f"check: the cameras explain only {explained}"),
        (best.kind == "estimated" and figures["parallax_degrees"] < numbers.flat, "check: with so little parallax depth is poorly known"),
        (
            best.score.ground < -0.15,
            "check: the lower parts of the images are farther away than the upper ones, which is unusual: look at the sparse points",
        ),
        (bool(figures["interpolated"]), f"{len(figures['interpolated'])} frames are held by too few tracks and are interpolated"),
    ]
    return (note, *(sentence for failed, sentence in checks if failed))


_WORDS = {"fixed": "a standing camera", "rotation": "a turning one", "estimated": "a travelling one"}
