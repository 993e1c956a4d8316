"""What several cameras say of one point: epipolar filter and triangulation per moment. Source: spec sparse_dynamic_cameras.md sections 2.4, 2.5."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.geometry.epipolar import fundamental_matrix, sampson_error
from fourfold.geometry.projection import project
from fourfold.geometry.triangulation import TriangulationConfig, camera_centers, triangulate

CHUNK = 40_000
"""Points triangulated at once."""


@dataclass(frozen=True)
class ConsistencyNumbers:
    """What counts as agreement.

    Attributes:
        sampson: largest Sampson error of two observations that agree, pixels. 0.1 is the paper's, at 960 x 540 with a learned tracker.
            An error perpendicular to the epipolar line counts 0.69 times, so a tracker with a noise of s pixels per axis passes about
            erf(0.1 / s) of its true pairs: raise it where calibration or tracking is coarser than 0.1 px (0.5 to 1 px on real rigs).
        reprojection: a triangulated point farther than this from an observation is not valid, pixels.
        parallax: smallest largest angle between two observing rays of a valid point, degrees.
        farthest: a valid point is nearer to every observing camera than so many times the largest distance between cameras of that moment.
        refine: numbers of the robust refinement after the direct linear transform.
    """

    sampson: float = 0.1
    reprojection: float = 2.0
    parallax: float = 1.0
    farthest: float = 50.0
    refine: TriangulationConfig = field(default_factory=lambda: TriangulationConfig(iterations=8, robust_pixels=1.0))


@dataclass(frozen=True)
class Observations:
    """P points in V views at T moments: xy (P, V, T, 2) float64 pixels and seen (P, V, T) bool."""

    xy: NDArray[np.float64]
    seen: NDArray[np.bool_]


def filter_epipolar(observations: Observations, capture: Capture, numbers: ConsistencyNumbers = ConsistencyNumbers()) -> NDArray[np.bool_]:
    """(P, V, T) what is still seen: observations that agree with that of at least one other camera at the same moment.

    With two cameras a disagreement loses both, with three only the one that agrees with none. Pairs of cameras at one place say nothing.
    """
    xy, seen = observations.xy, observations.seen
    keep = np.zeros_like(seen)
    K, pose = torch.from_numpy(capture.K), torch.from_numpy(capture.world_to_camera)
    for a, b in combinations(range(xy.shape[1]), 2):
        both = seen[:, a] & seen[:, b]
        for time in np.flatnonzero(both.any(axis=0)):
            rows = np.flatnonzero(both[:, time])
            matrix = fundamental_matrix(K[a, time], pose[a, time], K[b, time], pose[b, time])
            if not bool(torch.isfinite(matrix).all()) or float(matrix.abs().max()) < 1e-12:
                continue
            error = sampson_error(matrix, torch.from_numpy(xy[rows, a, time]), torch.from_numpy(xy[rows, b, time])).numpy()
            good = rows[error <= numbers.sampson]
            keep[good, a, time] = keep[good, b, time] = True
    return keep


def triangulate_tracks(
    observations: Observations, capture: Capture, numbers: ConsistencyNumbers = ConsistencyNumbers()
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Triangulate every point at every moment at which at least two cameras see it.

    Returns:
        (P, T, 3) world positions, 0 where not valid; (P, T) valid; (P, T) mean reprojection error in pixels, 0 where not valid.
    """
    points, _, times = observations.seen.shape
    xyz, valid, error = np.zeros((points, times, 3)), np.zeros((points, times), bool), np.zeros((points, times))
    known = capture.posed
    seen = observations.seen & known[None]
    rows, moments = np.nonzero(seen.sum(axis=1) >= 2)
    K, pose = np.nan_to_num(capture.K), np.where(known[..., None, None], capture.world_to_camera, np.eye(4))
    for start in range(0, len(rows), CHUNK):
        row, moment = rows[start : start + CHUNK], moments[start : start + CHUNK]
        good, position, distance = _triangulate(
            observations.xy[row, :, moment], seen[row, :, moment], K[:, moment].swapaxes(0, 1), pose[:, moment].swapaxes(0, 1), numbers
        )
        xyz[row, moment] = np.where(good[:, None], position, 0)
        valid[row, moment] = good
        error[row, moment] = np.where(good, distance, 0)
    return xyz, valid, error


def _triangulate(
    xy: NDArray[np.float64], seen: NDArray[np.bool_], K: NDArray[np.float64], pose: NDArray[np.float64], numbers: ConsistencyNumbers
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Which of P points (P, V, ...) obey the rules of validity, their positions (P, 3) and mean reprojection errors (P,)."""
    cameras = torch.from_numpy(np.ascontiguousarray(K)), torch.from_numpy(np.ascontiguousarray(pose))
    found = triangulate(torch.from_numpy(xy), *cameras, torch.from_numpy(seen.astype(np.float64)), numbers.refine)
    pixels, _ = project(found.points[:, None], *cameras)
    worst = np.where(seen, np.linalg.norm(pixels.numpy() - xy, axis=-1), 0).max(axis=1)
    centers = camera_centers(cameras[1]).numpy()
    mean = (centers * seen[..., None]).sum(1, keepdims=True) / seen.sum(1)[:, None, None]
    spread = 2 * np.where(seen, np.linalg.norm(centers - mean, axis=-1), 0).max(axis=1)
    distance = np.where(seen, np.linalg.norm(found.points.numpy()[:, None] - centers, axis=-1), 0).max(axis=1)
    good = found.in_front.numpy() & (worst <= numbers.reprojection) & (np.degrees(found.parallax.numpy()) >= numbers.parallax)
    good &= np.isfinite(worst) & (distance <= numbers.farthest * spread)
    return good, found.points.numpy(), found.error.numpy()
