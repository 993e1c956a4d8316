"""Cameras of a long film: its keyframes as a film of their own, then the frames between them, chunk after chunk.

Tracks are followed from frame to frame, so that keyframes far apart share tracks. Their cameras are searched as those of any film; everything
else is placed by tracks that keyframes hold, and each chunk is adjusted with its keyframes kept in place. So chunks need not be joined, memory
does not grow with the film, and time grows as its length.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.chunks import ChunkNumbers, chunks_of, is_long, keyframes
from fourfold.priors.cameras.bundle_system import Array, Sightings, Solved, residuals
from fourfold.priors.cameras.estimated import CamerasNumbers, estimate_cameras
from fourfold.priors.cameras.grown_start import GrowthNumbers, resected
from fourfold.priors.cameras.pose_path import interpolate_pose
from fourfold.priors.cameras.spread_tracks import SpreadNumbers, film_of, spread
from fourfold.priors.cameras.track_bundle import BundleNumbers, Freedom, bundle
from fourfold.priors.cameras.track_places import placed
from fourfold.priors.contracts import Cameras, FilmTracks
from fourfold.priors.providers import Provider


@dataclass(frozen=True)
class BetweenNumbers:
    """How frames between keyframes are placed; pixels are those of an image whose longer side has 640.

    Attributes:
        tracks: of the adjustment of a chunk.
        growth: of the first places: tracks that two keyframes hold are points.
        fine: the adjustment.
        fewest: observations within `near` pixels that a frame needs to be called placed; others are interpolated.
        near: see `fewest`.
    """

    tracks: SpreadNumbers = field(default_factory=lambda: SpreadNumbers(per=4))
    growth: GrowthNumbers = field(default_factory=lambda: GrowthNumbers(shortest=2))
    fine: BundleNumbers = field(default_factory=lambda: BundleNumbers(iterations=40, scale=0.5, lenient=4.0))
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
    at = _adjusted(seen, _solved(seen, start[inside], focal), fixed, source == "estimated", numbers)
    near = np.linalg.norm(residuals(seen, at), axis=1) < numbers.near
    held = fixed | (np.bincount(seen.frame[near], minlength=seen.frames) >= numbers.fewest)
    result, placed_there = start.copy(), np.zeros(len(moments), bool)
    result[inside[held], :3, :3], result[inside[held], :3, 3] = at.rotation[held], at.translation[held]
    placed_there[inside] = held
    return result, placed_there


def _solved(seen: Sightings, poses: Array, focal: Array) -> Solved:
    """A start: cameras (F, 4, 4), and tracks at the usual distance, whose median over the keyframes' points is 10."""
    ahead = np.tile([0.0, 0.0, 1.0], (seen.tracks, 1))
    return Solved(poses[:, :3, :3].copy(), poses[:, :3, 3].copy(), ahead, np.full(seen.tracks, 0.1), focal, np.zeros(1))


def _adjusted(seen: Sightings, start: Solved, fixed: NDArray[np.bool_], travels: bool, numbers: BetweenNumbers) -> Solved:
    """All tracks and the frames that are not `fixed` (F,), adjusted."""
    freedom = Freedom(travel=travels, focal=False, frames=~fixed)
    if travels:
        start = resected(seen, start, fixed, np.ones(seen.frames, bool), numbers.growth)
    return bundle(seen, placed(seen, start), freedom, numbers.fine).solved


def _long_film(capture: Capture) -> str | None:
    return None if capture.cameras == "unknown" and capture.views == 1 and is_long(capture) else ""


PROVIDERS = (Provider("keyframes", ("cameras",), ("filmtracks",), 30, _long_film, lambda c, p: [cameras_of_long_film(c, p.require(FilmTracks))]),)
