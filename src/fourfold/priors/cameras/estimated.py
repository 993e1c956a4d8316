"""Cameras of whatever was filmed: a bundle of tracks for one moving, turning or standing camera, structure from motion for photos and rigs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.cameras.camera_search import SearchNumbers, find_cameras
from fourfold.priors.cameras.film_cameras import cameras_of, hinted_focal
from fourfold.priors.cameras.joined_cameras import cameras_of_views
from fourfold.priors.cameras.joined_views import one_view
from fourfold.priors.cameras.photo_cameras import PhotoNumbers, photo_cameras
from fourfold.priors.cameras.spread_tracks import Film, film_of, only, spread
from fourfold.priors.contracts import Cameras, LongTracks
from fourfold.priors.given import given_cameras, given_masks
from fourfold.priors.providers import Provider


@dataclass(frozen=True)
class CamerasNumbers:
    """How cameras are found.

    Attributes:
        search: of a film's.
        photos: of what no tracks join.
        fewest: tracks that a frame of a film must hold on average, evenly spread.
        moving: share of a track's observations that given masks call moving or leave open, from which on it is left out.
    """

    search: SearchNumbers = field(default_factory=SearchNumbers)
    photos: PhotoNumbers = field(default_factory=PhotoNumbers)
    fewest: float = 20.0
    moving: float = 0.5


def estimate_cameras(capture: Capture, tracks: LongTracks, numbers: CamerasNumbers = CamerasNumbers()) -> Cameras:
    """Cameras of every present frame; given cameras are kept, and given masks leave out what moves.

    Never fails because the images are hard: the best honest answer is returned, its `source` figure and its notes say what it is worth.
    """
    if capture.cameras == "given":
        return given_cameras(capture)
    tracks = only(tracks, _standing_tracks(capture, tracks, numbers))
    film = film_of(capture, tracks)
    views = [int(v) for v in np.unique(film.frames[:, 0])]
    if len(views) == 1 and _is_film(film, numbers):
        alone, _ = one_view(film, views[0])
        return cameras_of(capture, alone, find_cameras(alone, hinted_focal(capture, alone), numbers.search))
    joined = cameras_of_views(capture, tracks, film, numbers.search) if len(views) > 1 else None
    return photo_cameras(capture, numbers.photos) if joined is None else joined


def _is_film(film: Film, numbers: CamerasNumbers) -> bool:
    """Whether tracks join the frames."""
    chosen = film.seen.of(spread(film, film.seen, numbers.search.few))
    return len(chosen.xy) >= numbers.fewest * chosen.frames


def _has_masks(capture: Capture) -> bool:
    return any(capture.has("masks", int(view)) for view in np.flatnonzero(capture.train.any(axis=1)))


def _standing_tracks(capture: Capture, tracks: LongTracks, numbers: CamerasNumbers) -> NDArray[np.bool_]:
    """(P,) tracks that given masks do not call moving; all of them without masks."""
    if not _has_masks(capture):
        return np.ones(len(tracks.view), bool)
    view, moving = tracks.view[tracks.track], np.zeros(len(tracks.xy), bool)
    for v, mask in enumerate(given_masks(capture).mask):
        mine = view == v
        x, y = (np.clip(tracks.xy[mine, i], 0, mask.shape[2 - i] - 1).astype(int) for i in (0, 1))
        moving[mine] = mask[tracks.time[mine], y, x] >= 0
    length = np.bincount(tracks.track, minlength=len(tracks.view))
    return np.bincount(tracks.track, moving, len(tracks.view)) < numbers.moving * np.maximum(length, 1)


def _without_cameras(capture: Capture) -> str | None:
    return "" if capture.cameras in ("given", "estimated", "rotation", "fixed") else None


def _filmed(capture: Capture) -> str | None:
    """Photos are left to structure from motion alone."""
    return _without_cameras(capture) if capture.present.sum(axis=1).max() >= 2 else ""


PROVIDERS = (
    Provider("bundle", ("cameras",), ("longtracks",), 20, _filmed, lambda c, p: [estimate_cameras(c, p.require(LongTracks))]),
    Provider("structure_from_motion", ("cameras",), (), 10, _without_cameras, lambda c, _: [photo_cameras(c)], version=2),
)
