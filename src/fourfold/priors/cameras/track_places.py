"""Where tracks lie, given the cameras: directions and inverse distances by robust adjustment of each track alone, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fourfold.priors.cameras.bundle_system import Array, Sightings, Solved, camera_points, jacobians, residuals
from fourfold.priors.cameras.track_bundle import BundleNumbers, Freedom, bundle, track_errors
from fourfold.priors.cameras.turned_start import rays_of


@dataclass(frozen=True)
class PlaceNumbers:
    """Which tracks are points; pixels are those of an image whose longer side has 640.

    Attributes:
        steps: of the adjustment.
        shrink: weight of the usual distance against the rays, at the start: it counts below an angle between them of about its root.
        error: root mean square residual above which a track moves by itself or was lost.
        sure: relative standard deviation of the distance, for residuals of one pixel, above which it is only a direction.
        shortest: observations of the shortest track taken.
    """

    steps: int = 15
    shrink: float = 1e-4
    error: float = 2.0
    sure: float = 0.25
    shortest: int = 4


def placed(seen: Sightings, cameras: Solved, numbers: PlaceNumbers = PlaceNumbers()) -> Solved:
    """The tracks of `seen` as `cameras` sees them; its own tracks only tell the usual distance."""
    usual = 1 / float(np.median(cameras.inverse)) if len(cameras.inverse) else 1.0
    points = _nearest_to_rays(seen, cameras, usual, numbers.shrink)
    distance = np.maximum(np.linalg.norm(points, axis=1), 1e-6 * usual)
    start = replace(cameras, direction=points / distance[:, None], inverse=1 / distance)
    return bundle(seen, start, Freedom(focal=False, frames=np.zeros(seen.frames, bool)), BundleNumbers(iterations=numbers.steps)).solved


def _nearest_to_rays(seen: Sightings, cameras: Solved, usual: float, shrink: float) -> Array:
    """(N, 3) the point nearest to the rays of each track, drawn a little to the usual distance where they are parallel."""
    rays = np.einsum("mji,mj->mi", cameras.rotation[seen.frame], rays_of(seen, cameras.focal))
    centres = -np.einsum("fji,fj->fi", cameras.rotation, cameras.translation)[seen.frame]
    across = np.eye(3) - rays[:, :, None] * rays[:, None, :]
    expected = centres + usual * rays
    side = np.einsum("mij,mj->mi", across, centres) + shrink * expected
    terms = np.concatenate([(across + shrink * np.eye(3)).reshape(-1, 9), side], axis=1)
    total = np.stack([np.bincount(seen.track, terms[:, i], seen.tracks) for i in range(12)], axis=1)
    return np.linalg.solve(total[:, :9].reshape(-1, 3, 3), total[:, 9:, None])[..., 0]


def distance_deviation(seen: Sightings, at: Solved) -> Array:
    """(N,) relative standard deviation of each track's distance for residuals of one pixel, its cameras given; infinite without parallax."""
    by_track = jacobians(seen, at)[2]
    blocks = np.einsum("mki,mkj->mij", by_track, by_track).reshape(-1, 9)
    block = np.stack([np.bincount(seen.track, blocks[:, i], seen.tracks) for i in range(9)], axis=1).reshape(-1, 3, 3)
    across, mixed = block[:, :2, :2], block[:, :2, 2]
    known = block[:, 2, 2] - np.einsum("ni,ni->n", mixed, np.linalg.solve(across + 1e-9 * np.eye(2), mixed[..., None])[..., 0])
    return 1 / np.maximum(np.sqrt(np.maximum(known, 0)) * at.inverse, 1e-12)


def sure_points(seen: Sightings, at: Solved, numbers: PlaceNumbers = PlaceNumbers()) -> tuple[NDArray[np.bool_], Array]:
    """(N,) which tracks are points of the scene that stand still at a known distance, and (N,) root mean square residuals in pixels."""
    r = residuals(seen, at)
    errors = track_errors(seen, r[:, 0] ** 2 + r[:, 1] ** 2)
    before = np.bincount(seen.track, camera_points(seen, at)[:, 2] > 0, seen.tracks) == seen.lengths
    return before & (errors < numbers.error) & (distance_deviation(seen, at) < numbers.sure) & (seen.lengths >= numbers.shortest), errors


def depth_told(seen: Sightings, at: Solved, numbers: PlaceNumbers = PlaceNumbers()) -> float:
    """Share of the tracks that fit whose distance is told."""
    r = residuals(seen, at)
    fit = track_errors(seen, r[:, 0] ** 2 + r[:, 1] ** 2) < numbers.error
    return float((distance_deviation(seen, at) < numbers.sure)[fit].mean()) if fit.any() else 0.0


def parallax_degrees(seen: Sightings, at: Solved) -> float:
    """Median over the tracks of the angle between their first and last ray, degrees; 0 without tracks."""
    centres = -np.einsum("fji,fj->fi", at.rotation, at.translation)
    ends = [at.direction - at.inverse[:, None] * centres[seen.frame[rows]] for rows in (seen.first[:-1], seen.first[1:] - 1)]
    a, b = (e / np.linalg.norm(e, axis=1, keepdims=True) for e in ends)
    angle = np.arccos(np.clip(np.einsum("ni,ni->n", a, b), -1, 1))
    return float(np.degrees(np.median(angle))) if len(angle) else 0.0
