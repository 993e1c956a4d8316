"""Long tracks seen again in other images: after a circle or a return, or by another camera.

SIFT (Lowe 2004) tells where two images show the same, with turn and scale; the patch around each track's point is then found in the other
image to a fraction of a pixel, both ways. So a track gains an exact observation, whether or not that image has a track at this very point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import LongTracks
from fourfold.priors.tracking.long_tracks import tracking_frames, tracking_size
from fourfold.priors.tracking.matching import MatchConfig, PointFeatures, match
from fourfold.priors.tracking.sift_matches import agreeing, keypoints
from fourfold.priors.tracking.track_anchor import AnchorConfig, Points, align, anchor, smooth

Image = NDArray[np.float32]


@dataclass(frozen=True)
class SightingConfig:
    """Numbers of sightings. Pixels are those of the tracking images.

    Attributes:
        long_side: longer side of the tracking images, pixels.
        features: SIFT keypoints per image at most, the strongest ones.
        contrast: SIFT's contrast threshold.
        matching: of their descriptors.
        tolerance: distance from the epipolar line that a match may have, pixels.
        reach: a point is looked for if a match lies within this many pixels.
        anchor: finding patches; more steps than from frame to frame, since the start is rougher.
        coarse: divisor of the images in which a patch is found first.
        alike: least correlation of the patches.
        astray: pixels by which the patch may lie elsewhere than the match says.
        back_error: pixels by which the way back may miss.
    """

    long_side: int = 640
    features: int = 3000
    contrast: float = 0.02
    matching: MatchConfig = field(default_factory=lambda: MatchConfig(ratio=0.85))
    tolerance: float = 2.0
    reach: float = 20.0
    anchor: AnchorConfig = field(default_factory=lambda: AnchorConfig(steps=8, settled=0.01))
    coarse: int = 2
    alike: float = 0.85
    astray: float = 6.0
    back_error: float = 0.5


@dataclass(frozen=True)
class Sightings:
    """J observations of long tracks in images where they were not followed to.

    track (J,) int32 number of the track; view, time (J,) int32 the image; xy (J, 2) float32 pixels of the stored images.
    """

    track: NDArray[np.int32]
    view: NDArray[np.int32]
    time: NDArray[np.int32]
    xy: Points


@dataclass(frozen=True)
class _Keypoints:
    """SIFT keypoints of one image: features, and turn (radian) and size (pixels) of each."""

    features: PointFeatures
    angle: NDArray[np.float64]
    size: NDArray[np.float64]


def sightings(capture: Capture, tracks: LongTracks, images: NDArray[np.int32], config: SightingConfig = SightingConfig()) -> Sightings:
    """Where the tracks of one image are seen in another.

    Args:
        tracks: of this capture.
        images: (M, 4) rows (view a, time index a, view b, time index b); tracks of a are looked for in b, and those of b in a.
    """
    grey = cache(lambda view, time: next(tracking_frames(capture, view, np.array([time]), config.long_side)))
    described = cache(lambda view, time: _keypoints(grey(view, time), config))
    found = [_nothing()]
    for view_a, time_a, view_b, time_b in images.tolist():
        first, second = (view_a, time_a), (view_b, time_b)
        pairs = _matches(described(*first), described(*second), config)
        for here, there, local in ((first, second, pairs), (second, first, _swapped(pairs))):
            found.append(_seen_again(capture, tracks, here, there, grey, local, config))
    return Sightings(*(np.concatenate([getattr(f, name) for f in found]) for name in ("track", "view", "time", "xy")))


def _nothing() -> Sightings:
    none = np.zeros(0, np.int32)
    return Sightings(none, none, none, np.zeros((0, 2), np.float32))


def _keypoints(grey: NDArray[np.uint8], config: SightingConfig) -> _Keypoints:
    found, features = keypoints(grey, None, config.features, config.contrast)
    return _Keypoints(features, np.radians([k.angle for k in found]), np.array([k.size for k in found]))


def _matches(a: _Keypoints, b: _Keypoints, config: SightingConfig) -> tuple[Points, Points, NDArray[np.float32]]:
    """(N, 2) and (N, 2) pixels of two images that show the same, agreeing on one epipolar geometry, and (N, 2, 2) turn and scale from a to b."""
    pairs, _ = match(a.features, b.features, config.matching)
    xy_a, xy_b = a.features.xy[pairs[:, 0]], b.features.xy[pairs[:, 1]]
    good = agreeing(xy_a, xy_b, config.tolerance)
    pairs = pairs[good]
    turn, scale = b.angle[pairs[:, 1]] - a.angle[pairs[:, 0]], b.size[pairs[:, 1]] / a.size[pairs[:, 0]]
    cosine, sine = scale * np.cos(turn), scale * np.sin(turn)
    return xy_a[good], xy_b[good], np.stack([cosine, -sine, sine, cosine], axis=1).reshape(-1, 2, 2).astype(np.float32)


def _swapped(pairs: tuple[Points, Points, NDArray[np.float32]]) -> tuple[Points, Points, NDArray[np.float32]]:
    return pairs[1], pairs[0], np.linalg.inv(pairs[2]).astype(np.float32)


def _seen_again(
    capture: Capture,
    tracks: LongTracks,
    here: tuple[int, int],
    there: tuple[int, int],
    grey: Callable[[int, int], NDArray[np.uint8]],
    pairs: tuple[Points, Points, NDArray[np.float32]],
    config: SightingConfig,
) -> Sightings:
    """Sightings in the image `there` of the tracks that pass through the image `here` and not through that one."""
    view = tracks.view[tracks.track]
    rows = np.flatnonzero((view == here[0]) & (tracks.time == here[1]))
    rows = rows[~np.isin(tracks.track[rows], tracks.track[(view == there[0]) & (tracks.time == there[1])])]
    if not len(rows) or not len(pairs[0]):
        return _nothing()
    to_here, to_there = (capture.sizes[v] / np.array(tracking_size(capture, v, config.long_side)) for v in (here[0], there[0]))
    points = (tracks.xy[rows] / to_here - 0.5).astype(np.float32)
    away, nearest = cKDTree(pairs[0]).query(points)
    near = away < config.reach
    rows, points, nearest = rows[near], points[near], nearest[near]
    shape = pairs[2][nearest]
    guess = pairs[1][nearest] + np.einsum("nij,nj->ni", shape, points - pairs[0][nearest])
    found, good = _patches_found(grey(*here), grey(*there), points, guess.astype(np.float32), shape, config)
    view_there, time_there = (np.full(int(good.sum()), n, np.int32) for n in there)
    return Sightings(tracks.track[rows[good]], view_there, time_there, ((found[good] + 0.5) * to_there).astype(np.float32))


def _patches_found(
    first: NDArray[np.uint8], second: NDArray[np.uint8], points: Points, guess: Points, shape: NDArray[np.float32], config: SightingConfig
) -> tuple[Points, NDArray[np.bool_]]:
    """(N, 2) where the patches around points of the first image are in the second, near `guess` with the change `shape`, and whether surely so."""
    found = guess
    for divisor in (config.coarse, 1):
        a, b = (_reduced(image, divisor, config.anchor) for image in (first, second))
        at, near = (((p + 0.5) / divisor - 0.5).astype(np.float32) for p in (points, found))
        place, seen, alike = align(b, near, replace(anchor(a, at, config.anchor), shape=shape), config.anchor)
        found, shape = ((place + 0.5) * divisor - 0.5).astype(np.float32), seen.shape
    height, width = second.shape
    good = (alike > config.alike) & (np.linalg.norm(found - guess, axis=1) < config.astray)
    good &= (found >= 0).all(axis=1) & (found[:, 0] <= width - 1) & (found[:, 1] <= height - 1)
    rows = np.flatnonzero(good)
    back = replace(anchor(b, found[rows], config.anchor), shape=np.linalg.inv(shape[rows]).astype(np.float32))
    again, _, alike_back = align(a, points[rows], back, config.anchor)
    good[rows] = (alike_back > config.alike) & (np.linalg.norm(again - points[rows], axis=1) < config.back_error)
    return found, good


def _reduced(grey: NDArray[np.uint8], divisor: int, config: AnchorConfig) -> Image:
    height, width = grey.shape
    size = (width // divisor, height // divisor)
    return smooth(grey if divisor == 1 else cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.uint8), config)
