"""Cameras of a long film: its keyframes as a film of their own, then the frames between them, chunk after chunk.

Tracks are followed from frame to frame, so that keyframes far apart share tracks. Their cameras are searched as those of any film; every other frame
is placed by the tracks that keyframes see, which stay in place. So chunks need not be joined, memory does not grow with the film, and time grows as
its length.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.chunks import ChunkNumbers, chunks_of, is_long, keyframes
from fourfold.priors.cameras.bundle_system import Array, Sightings, Solved, residuals
from fourfold.priors.cameras.estimated import CamerasNumbers, estimate_cameras
from fourfold.priors.cameras.frames_alone import AloneNumbers, frames_alone
from fourfold.priors.cameras.grown_start import within
from fourfold.priors.cameras.pose_path import interpolate_pose
from fourfold.priors.cameras.spread_tracks import SpreadNumbers, film_of, spread
from fourfold.priors.cameras.track_places import placed
from fourfold.priors.contracts import Cameras, FilmTracks
from fourfold.priors.providers import Provider

DISTANCE = 10.0
"""The usual distance of the keyframes' points, scene units."""


@dataclass(frozen=True)
class BetweenNumbers:
    """How frames between keyframes are placed; pixels are those of an image whose longer side has 640.

    Attributes:
        tracks: of a chunk.
        shortest: keyframes that must see a track.
        alone: how a frame is placed.
        fewest: observations within `near` pixels that a frame needs to be called placed; others are interpolated.
        near: see `fewest`.
    """

    tracks: SpreadNumbers = field(default_factory=lambda: SpreadNumbers(per=8))
    shortest: int = 2
    alone: AloneNumbers = field(default_factory=AloneNumbers)
    fewest: int = 12
    near: float = 3.0


def cameras_of_long_film(
    capture: Capture,
    tracks: FilmTracks,
    keys_by: CamerasNumbers = CamerasNumbers(),
    cut: ChunkNumbers = ChunkNumbers(),
    numbers: BetweenNumbers = BetweenNumbers(),
) -> Cameras:
    """The prior of a film of one view: its keyframes' as for any film, by `keys_by`, and the frames between."""
    chosen = keyframes(capture, cut)
    found = estimate_cameras(capture.moments(chosen), tracks.at(chosen), keys_by)
    unsure = {row for _, row in found.provenance.figures.get("interpolated", ())}
    keys = {int(t): p for n, (t, p) in enumerate(zip(chosen, found.world_to_camera[0], strict=True)) if n not in unsure and np.isfinite(p).all()}
    poses: NDArray[np.float64] = np.full((capture.times, 4, 4), np.nan)
    guessed: list[int] = []
    chunks = chunks_of(capture.times, cut)
    for chunk in chunks if keys else ():
        moved, held = _between(capture, tracks, chunk.moments, (keys, found), numbers)
        shown = slice(chunk.begin - chunk.first, chunk.end - chunk.first)
        poses[chunk.begin : chunk.end] = moved[shown]
        guessed += [chunk.begin + int(t) for t in np.flatnonzero(~held[shown])]
    poses[~capture.present[0]] = np.nan
    lens = found.K[0, int(np.isfinite(found.K[0]).all((1, 2)).argmax())]
    K = np.tile(lens, (1, capture.times, 1, 1))
    K[0, ~capture.present[0]] = np.nan
    note = f"a long film: cameras of {len(chosen)} keyframes, and of the frames between them in {len(chunks)} chunks"
    notes = (*found.provenance.notes, note, *([f"{len(guessed)} frames are held by too few tracks and are interpolated"] if guessed else []))
    figures = found.provenance.figures | {"keyframes": len(chosen), "chunks": len(chunks), "interpolated": [[0, t] for t in guessed]}
    return replace(found, provenance=replace(found.provenance, notes=notes, figures=figures), K=K, world_to_camera=poses[None])


def _between(
    capture: Capture, tracks: FilmTracks, moments: NDArray[np.intp], known: tuple[dict[int, Array], Cameras], numbers: BetweenNumbers
) -> tuple[Array, NDArray[np.bool_]]:
    """World to camera (K, 4, 4) at `moments`, and (K,) whether tracks place them; keyframes stay where they are."""
    keys, found = known
    start = np.stack([keys[int(t)] if int(t) in keys else interpolate_pose(keys, capture.timestamps, int(t)) for t in moments])
    source = found.provenance.figures["source"]
    if source == "fixed":
        return start, np.ones(len(moments), bool)
    part = capture.moments(moments)
    film = film_of(part, tracks.at(moments))
    seen = film.seen.of(spread(film, film.seen, numbers.tracks))
    inside = film.frames[:, 1]  # of the part's moments, those with an image
    fixed = np.isin(moments[inside], list(keys))
    if not seen.tracks or not fixed.any():
        return start, np.isin(moments, list(keys))
    focal = np.array([np.nanmedian(found.K[0, :, 0, 0]) * film.unit[0, 0]])
    at, seen = _placed_alone(seen, start[inside], (focal, fixed), source == "estimated", numbers)
    near = np.linalg.norm(residuals(seen, at), axis=1) < numbers.near
    held = fixed | (np.bincount(seen.frame[near], minlength=seen.frames) >= numbers.fewest)
    result, placed_there = start.copy(), np.zeros(len(moments), bool)
    result[inside[held], :3, :3], result[inside[held], :3, 3] = at.rotation[held], at.translation[held]
    placed_there[inside] = held
    return result, placed_there


def _placed_alone(
    seen: Sightings, poses: Array, told: tuple[Array, NDArray[np.bool_]], travels: bool, numbers: BetweenNumbers
) -> tuple[Solved, Sightings]:
    """Tracks where the frames that are `fixed` (F,) see them, and the other frames, from `poses` (F, 4, 4) on, where the tracks say.

    Returns the cameras of all frames, and the tracks that the fixed ones see often enough, placed.
    """
    focal, fixed = told
    part, kept = within(seen, fixed, numbers.shortest)
    number = (np.cumsum(fixed) - 1).astype(np.int32)
    part = replace(part, frame=number[part.frame], lens_of=part.lens_of[fixed])
    ahead, usual = np.tile([0.0, 0.0, 1.0], (part.tracks, 1)), np.full(part.tracks, 1 / DISTANCE)
    where = placed(part, Solved(poses[fixed, :3, :3], poses[fixed, :3, 3], ahead, usual, focal, np.zeros(1)))
    at = Solved(poses[:, :3, :3], poses[:, :3, 3], where.direction, where.inverse, focal, np.zeros(1))
    known = np.zeros(seen.tracks, bool)
    known[kept] = True
    return frames_alone(seen.of(known), at, ~fixed, travels, numbers.alone), seen.of(known)


def _long_film(capture: Capture) -> str | None:
    return None if capture.cameras == "unknown" and capture.views == 1 and is_long(capture) else ""


PROVIDERS = (Provider("keyframes", ("cameras",), ("filmtracks",), 30, _long_film, lambda c, p: [cameras_of_long_film(c, p.require(FilmTracks))]),)
