"""A camera that only turned, or stood still: rotations and focal length from matches alone, and how much of the matches they explain."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.sparse import lil_matrix
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RotationConfig:
    """Numbers of the rotation-only fit.

    Attributes:
        inlier: pixels, for images whose longer side has 640, within which a match obeys a homography or an epipolar line.
        still: pixels at 640 longer side; a camera whose background never moves by more is fixed.
        matches_per_pair: most matches of one image pair used in the adjustment.
        min_matches: pairs with fewer matches are ignored.
        gaps: how many images apart the pairs are.
        focal_range: focal lengths tried, in image widths (28 to 105 degrees of view).
        focal_default: focal length in image widths where the images do not tell it (53 degrees of view).
        min_turn: degrees of total turn below which a rotation cannot tell the focal length.
    """

    inlier: float = 2.0
    still: float = 1.0
    matches_per_pair: int = 60
    min_matches: int = 20
    gaps: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    focal_range: tuple[float, float] = (0.38, 2.0)
    focal_default: float = 1.0
    min_turn: float = 4.0


@dataclass(frozen=True)
class PairMatches:
    """Matches of one image pair: images a < b (rows), xy_a and xy_b (M, 2) pixels, and which obey one epipolar geometry (M,)."""

    a: int
    b: int
    xy_a: Array
    xy_b: Array
    rigid: NDArray[np.bool_]


@dataclass(frozen=True)
class Turning:
    """A rotation-only camera: world_to_camera rotations (F, 3, 3), focal in pixels, whether the images told it, residual share.

    explained: share of the rigid matches within the inlier distance; by_gap the same for each gap; turn: total turn in degrees;
    still: 90th percentile of the background's motion away from the first image in pixels at 640 longer side.
    """

    rotations: Array
    focal: float
    focal_known: bool
    explained: float
    by_gap: dict[int, float]
    turn: float
    still: float


def verified_pairs(
    xy: NDArray[np.float32],
    image: NDArray[np.int32],
    pairs: NDArray[np.int32],
    unit: float,
    config: RotationConfig = RotationConfig(),
) -> list[PairMatches]:
    """Matches of the image pairs whose distance is one of the gaps, with a robust epipolar check; `unit` is pixels per pixel at 640 longer side."""
    result = []
    a, b = image[pairs[:, 0]], image[pairs[:, 1]]
    for gap in config.gaps:
        for start in range(int(image.max(initial=0)) + 1):
            rows = pairs[(a == start) & (b == start + gap)]
            if len(rows) < config.min_matches:
                continue
            xy_a, xy_b = xy[rows[:, 0]].astype(np.float64), xy[rows[:, 1]].astype(np.float64)
            inliers = _epipolar_inliers(xy_a, xy_b, config.inlier * unit)
            if inliers.sum() >= config.min_matches:
                result.append(PairMatches(start, start + gap, xy_a, xy_b, inliers))
    return result


def fit_turning(pairs: list[PairMatches], images: int, width: int, height: int, config: RotationConfig = RotationConfig()) -> Turning:
    """Rotations and one focal length that explain the matches best, by robust least squares on a sample of them."""
    unit = max(width, height) / 640
    centre = np.array([width / 2, height / 2])
    sample = [_homography_inliers(p, unit, config) for p in pairs]
    focal = _search_focal(sample, centre, width, config)
    vectors, focal = _adjust(sample, images, centre, focal, width, config)
    rotations = Rotation.from_rotvec(vectors).as_matrix()
    rotations = rotations @ rotations[0].T
    turn = float(np.degrees(Rotation.from_matrix(rotations).magnitude().max())) if images else 0.0
    known = turn >= config.min_turn
    if not known:
        focal = config.focal_default * width
        vectors, _ = _adjust(sample, images, centre, focal, width, config, refine_focal=False)
        rotations = Rotation.from_rotvec(vectors).as_matrix()
        rotations = rotations @ rotations[0].T
    shares = _shares(pairs, rotations, focal, centre, config.inlier * unit)
    drift = [float(np.percentile(np.linalg.norm(p.xy_a - p.xy_b, axis=1), 90)) / unit for p in sample if len(p.xy_a) >= 6]
    explained = float(np.mean([v for values in shares.values() for v in values])) if shares else 0.0
    by_gap = {gap: float(np.mean(values)) for gap, values in sorted(shares.items())}
    return Turning(rotations, focal, known, explained, by_gap, turn, max(drift, default=0.0))


def turning_residuals(pair: PairMatches, rotations: Array, focal: float, centre: Array) -> Array:
    """(M,) pixels between where the turned camera would see each match and where it was seen."""
    rays = np.concatenate([(pair.xy_a - centre) / focal, np.ones((len(pair.xy_a), 1))], 1) @ (rotations[pair.b] @ rotations[pair.a].T).T
    return np.linalg.norm(rays[:, :2] / np.maximum(rays[:, 2:], 1e-6) * focal + centre - pair.xy_b, axis=1)


def _epipolar_inliers(xy_a: Array, xy_b: Array, distance: float) -> NDArray[np.bool_]:
    cv2.setRNGSeed(0)
    try:
        _, inliers = cv2.findFundamentalMat(xy_a, xy_b, cv2.USAC_FAST, distance, 0.99, 2000)
    except cv2.error:  # OpenCV asserts where every sample is degenerate, such as identical positions: then no epipolar line is violated
        return np.ones(len(xy_a), bool)
    return np.zeros(len(xy_a), bool) if inliers is None else inliers.ravel().astype(bool)


def _homography_inliers(pair: PairMatches, unit: float, config: RotationConfig) -> PairMatches:
    cv2.setRNGSeed(0)
    _, inliers = cv2.findHomography(pair.xy_a, pair.xy_b, cv2.USAC_FAST, 1.5 * config.inlier * unit, maxIters=2000, confidence=0.99)
    rows = np.flatnonzero(inliers.ravel()) if inliers is not None else np.zeros(0, int)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), config.matches_per_pair)).astype(int)] if len(rows) else rows
    return PairMatches(pair.a, pair.b, pair.xy_a[rows], pair.xy_b[rows], np.ones(len(rows), bool))


def _relative_rotation(pair: PairMatches, focal: float, centre: Array) -> tuple[Array, float]:
    """Best rotation a to b (orthogonal Procrustes of the rays) and its mean absolute residual in pixels."""
    rays = [np.concatenate([(xy - centre) / focal, np.ones((len(xy), 1))], 1) for xy in (pair.xy_a, pair.xy_b)]
    unit_a, unit_b = (r / np.linalg.norm(r, axis=1, keepdims=True) for r in rays)
    u, _, vt = np.linalg.svd(unit_b.T @ unit_a)
    rotation = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    residual = np.linalg.norm(unit_a @ rotation.T - unit_b, axis=1) * focal
    return rotation, float(np.median(residual))


def _search_focal(sample: list[PairMatches], centre: Array, width: int, config: RotationConfig) -> float:
    wide = [p for p in sample if len(p.xy_a) >= config.min_matches]
    if not wide:
        return config.focal_default * width
    motion = np.array([np.linalg.norm(p.xy_a - p.xy_b, axis=1).mean() for p in wide])
    wide = [wide[i] for i in np.argsort(-motion)[:40]]
    candidates = np.geomspace(*config.focal_range, 25) * width
    costs = [np.mean([_relative_rotation(p, f, centre)[1] for p in wide]) for f in candidates]
    return float(candidates[int(np.argmin(costs))])


def _adjust(
    sample: list[PairMatches], images: int, centre: Array, focal: float, width: int, config: RotationConfig, refine_focal: bool = True
) -> tuple[Array, float]:
    """Rotation vectors (F, 3) and focal by robust least squares; images without matches keep their predecessor's rotation."""
    vectors = np.zeros((images, 3))
    step = {(p.a, p.b): _relative_rotation(p, focal, centre)[0] for p in sample if len(p.xy_a) >= 6}
    current = np.eye(3)
    for i in range(1, images):
        current = step.get((i - 1, i), np.eye(3)) @ current
        vectors[i] = Rotation.from_matrix(current).as_rotvec()
    used = [p for p in sample if len(p.xy_a) >= 6]
    if not used:
        return vectors, focal
    a, b = (np.concatenate([np.full(len(p.xy_a), getattr(p, key)) for p in used]) for key in ("a", "b"))
    xy_a, xy_b = np.concatenate([p.xy_a for p in used]), np.concatenate([p.xy_b for p in used])

    def residuals(parameters: Array) -> Array:
        f = np.exp(parameters[-1]) if refine_focal else focal
        rotations = Rotation.from_rotvec(np.concatenate([np.zeros((1, 3)), parameters[: 3 * (images - 1)].reshape(-1, 3)])).as_matrix()
        rays = np.concatenate([(xy_a - centre) / f, np.ones((len(xy_a), 1))], 1)
        seen = np.einsum("nij,nkj,nk->ni", rotations[b], rotations[a], rays)
        return ((seen[:, :2] / np.maximum(seen[:, 2:], 1e-3) * f + centre - xy_b) / (max(2 * centre) / 640)).ravel()

    sparsity = lil_matrix((2 * len(a), 3 * (images - 1) + 1), dtype=np.int8)
    for column in (a, b):
        for axis in range(3):
            rows = np.flatnonzero(column > 0)
            for half in (0, 1):
                sparsity[2 * rows + half, 3 * (column[rows] - 1) + axis] = 1
    sparsity[:, -1] = 1
    start = np.append(vectors[1:].ravel(), np.log(focal))
    low, high = np.log(np.array(config.focal_range) * width * np.array([0.9, 2.0]))
    bounds = (np.append(np.full(len(start) - 1, -np.inf), low), np.append(np.full(len(start) - 1, np.inf), high))
    done = least_squares(residuals, start, jac_sparsity=sparsity, loss="soft_l1", x_scale="jac", bounds=bounds, max_nfev=25)
    vectors[1:] = done.x[:-1].reshape(-1, 3)
    return vectors, float(np.exp(done.x[-1])) if refine_focal else focal


def _shares(pairs: list[PairMatches], rotations: Array, focal: float, centre: Array, distance: float) -> dict[int, list[float]]:
    """Per gap, the share of each pair's rigid matches that the rotations explain."""
    shares: dict[int, list[float]] = {}
    for pair in pairs:
        good = turning_residuals(pair, rotations, focal, centre)[pair.rigid] < distance
        shares.setdefault(pair.b - pair.a, []).append(float(good.mean()))
    return shares
