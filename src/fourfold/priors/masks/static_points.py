"""Each image track against the world at rest: the static point, or the direction, that explains it best, and what is left in pixels.

One model serves near and far: x ~ K R_t (d + rho (c_0 - c_t)), a direction d from the track's middle camera c_0 and an inverse distance
rho >= 0. With rho = 0 the point is infinitely far (sky), or the camera only turned. Source: docs/masks.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourfold.priors.cameras.bundle_system import tangents

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

_LEAST_DEPTH = 0.05


@dataclass(frozen=True)
class FitNumbers:
    """Numbers of the robust fit.

    Attributes:
        rounds: of reweighted least squares.
        scale: residual, pixels at 640 longer side, at which an observation weighs half.
        stiff: curvature towards rho = 0, relative to that of the direction when lengths are measured in camera travels: without parallax
            a point stays at infinity.
    """

    rounds: int = 6
    scale: float = 2.0
    stiff: float = 1e-6


@dataclass(frozen=True)
class View:
    """One camera over time: K (T, 3, 3), world_to_camera (T, 4, 4), NaN where unknown, and its longer side in pixels."""

    K: Array
    world_to_camera: Array
    side: float


@dataclass(frozen=True)
class Observations:
    """M observations of P tracks: xy (M, 2) pixels, time (M,), track (M,) not decreasing, and count P."""

    xy: Array
    time: Rows
    track: Rows
    count: int


@dataclass(frozen=True)
class StaticPoints:
    """What P tracks would be if they stood still.

    origin (P, 3) centre of the track's middle camera; direction (P, 3) of length about 1 and rho (P,) inverse distance along it, 0 for
    infinitely far; rho_error (P,) its standard error for an image error of one pixel, very large without parallax; error (M,) pixels
    between each observation and the point, NaN where no camera is known. Tracks without two known observations have NaN everywhere.
    """

    origin: Array
    direction: Array
    rho: Array
    rho_error: Array
    error: Array


@dataclass(frozen=True)
class _Linear:
    """What is linear in (a, b, rho): numerators g (4, M, 2) and depths z (4, M) of base, two tangents and the inverse distance."""

    g: Array
    z: Array
    rows: Rows
    focal: float
    count: int


def static_points(view: View, seen: Observations, used: NDArray[np.bool_], numbers: FitNumbers = FitNumbers()) -> StaticPoints:
    """Fit every track; only observations with `used` (M,) take part in the fit, all are judged by it.

    A point that would lie behind the camera, or beyond infinity, is judged as a direction, and so is one that a direction explains better.
    """
    known = np.isfinite(view.K[seen.time]).all((1, 2)) & np.isfinite(view.world_to_camera[seen.time]).all((1, 2))
    rows = np.flatnonzero(known)
    fitted = used[rows]
    middle = _middle(seen.track[rows], fitted, seen.count)
    travel = _travel(view, seen.time[rows])
    linear, origin, axes = _linearised(view, seen, rows, middle, travel)
    far, _, far_error, _ = _solve(linear, fitted, view.side, numbers, with_depth=False)
    near, depth_ok, near_error, curvature = _solve(linear, fitted, view.side, numbers, with_depth=True)
    cost = [_robust_cost(e, linear.rows, fitted, seen.count, view.side, numbers) for e in (far_error, near_error)]
    point = depth_ok & (cost[1] <= cost[0])
    solved = np.where(point[:, None], near, far)
    error = np.full(len(seen.time), np.nan)
    error[rows] = np.where(point[linear.rows], near_error, far_error)
    direction = np.einsum("kp,kpi->pi", np.stack([np.ones(seen.count), solved[:, 0], solved[:, 1]]), axes)
    with np.errstate(divide="ignore"):
        rho_error = 1 / linear.focal / np.sqrt(curvature) / travel
    return StaticPoints(origin, direction, solved[:, 2] / travel, rho_error, error)


def percentile_by_track(values: Array, track: Rows, count: int, share: float) -> Array:
    """(P,) the `share` quantile of the finite values (M,) of each track, interpolated as numpy does; NaN for tracks without any."""
    finite = np.flatnonzero(np.isfinite(values))
    order = finite[np.argsort(values[finite])]
    owner = track[order].astype(np.uint16 if count <= 1 << 16 else np.int64)  # of 16 bits the stable sort counts instead of comparing
    order = order[np.argsort(owner, kind="stable")]
    number = np.bincount(track[order], minlength=count)
    start = np.concatenate([[0], np.cumsum(number)[:-1]])
    place = share * np.maximum(number - 1, 0)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(number - 1, 0))
    result, any_of = np.full(count, np.nan), number > 0
    ordered, part = values[order], (place - low)[any_of]
    result[any_of] = ordered[(start + low)[any_of]] * (1 - part) + ordered[(start + high)[any_of]] * part
    return result


def _middle(track: Rows, fitted: NDArray[np.bool_], count: int) -> Rows:
    """(P,) row of the middle fitted observation of each track, -1 without any."""
    rows = np.flatnonzero(fitted)
    number = np.bincount(track[rows], minlength=count)
    start = np.concatenate([[0], np.cumsum(number)[:-1]])
    result = np.full(count, -1)
    result[number > 0] = rows[(start + number // 2)[number > 0]]
    return result


def _travel(view: View, time: Rows) -> float:
    """The largest distance of a camera centre from the first, the unit of length; 1 where the camera stayed."""
    poses = view.world_to_camera[np.unique(time)]
    centres = -np.einsum("tji,tj->ti", poses[:, :3, :3], poses[:, :3, 3])
    reach = float(np.linalg.norm(centres - centres[:1], axis=1).max()) if len(centres) else 0.0
    return reach if reach > 1e-9 else 1.0


def _linearised(view: View, seen: Observations, rows: Rows, middle: Rows, travel: float) -> tuple[_Linear, Array, Array]:
    """The linear pieces of every known observation, the origins (P, 3), and the axes (3, P, 3): base direction and two tangents."""
    time, track = seen.time[rows], seen.track[rows]
    K = view.K[time]
    normal = (seen.xy[rows] - K[:, :2, 2]) / np.stack([K[:, 0, 0], K[:, 1, 1]], 1)
    rotation, shift = view.world_to_camera[:, :3, :3], view.world_to_camera[:, :3, 3]
    base = np.full((seen.count, 3), np.nan)
    origin = np.full((seen.count, 3), np.nan)
    has = middle >= 0
    at = time[middle[has]]
    ray = np.concatenate([normal[middle[has]], np.ones((int(has.sum()), 1))], 1)
    base[has] = np.einsum("pji,pj->pi", rotation[at], ray / np.linalg.norm(ray, axis=1, keepdims=True))
    origin[has] = -np.einsum("pji,pj->pi", rotation[at], shift[at])
    axes = np.concatenate([base[None], tangents(base).transpose(1, 0, 2)])
    turned = [np.einsum("mij,mj->mi", rotation[time], axis[track]) for axis in axes]
    turned.append((np.einsum("mij,mj->mi", rotation[time], origin[track]) + shift[time]) / travel)
    stacked = np.stack(turned)
    focal = float(np.median(K[:, 0, 0])) if len(K) else 1.0
    return _Linear(stacked[..., :2] - normal * stacked[..., 2:], stacked[..., 2], track, focal, seen.count), origin, axes


def _solve(
    linear: _Linear, fitted: NDArray[np.bool_], side: float, numbers: FitNumbers, with_depth: bool
) -> tuple[Array, NDArray[np.bool_], Array, Array]:
    """(P, 3) a, b and rho (in travels), whether the point lies before all its cameras, (M,) pixel errors and (P,) curvature of rho."""
    size = 3 if with_depth else 2
    found = np.zeros((linear.count, 3))
    curvature, normal = np.zeros(linear.count), np.zeros((linear.count, size, size))
    scale = numbers.scale * side / 640 / linear.focal
    for _ in range(numbers.rounds):
        depth = _depths(linear, found)
        clamped = np.maximum(depth, _LEAST_DEPTH)
        residual = np.linalg.norm(_numerators(linear, found), axis=1) / clamped
        weight = fitted / (clamped**2 * (1 + (residual / scale) ** 2))
        right = np.zeros((linear.count, size))
        for i in range(size):
            right[:, i] = -_sum(linear, weight * (linear.g[i + 1] * linear.g[0]).sum(1))
            for j in range(i + 1):
                normal[:, i, j] = normal[:, j, i] = _sum(linear, weight * (linear.g[i + 1] * linear.g[j + 1]).sum(1))
        normal += np.eye(size) * 1e-12
        if with_depth:
            normal[:, 2, 2] += numbers.stiff * normal[:, 0, 0]
        found[:, :size] = np.linalg.solve(normal, right[..., None])[..., 0]
    if with_depth:
        curvature = 1 / np.maximum(np.linalg.inv(normal)[:, 2, 2], 1e-12)
    depth = _depths(linear, found)
    behind = np.bincount(linear.rows, (depth <= _LEAST_DEPTH) & fitted, linear.count) > 0
    error = np.linalg.norm(_numerators(linear, found), axis=1) / np.maximum(depth, _LEAST_DEPTH) * linear.focal
    return found, (found[:, 2] > 0) & ~behind, error, curvature


def _numerators(linear: _Linear, found: Array) -> Array:
    g, x = linear.g, found[linear.rows]
    return g[0] + x[:, :1] * g[1] + x[:, 1:2] * g[2] + x[:, 2:] * g[3]


def _depths(linear: _Linear, found: Array) -> Array:
    z, x = linear.z, found[linear.rows]
    return z[0] + x[:, 0] * z[1] + x[:, 1] * z[2] + x[:, 2] * z[3]


def _sum(linear: _Linear, values: Array) -> Array:
    return np.bincount(linear.rows, values, linear.count)


def _robust_cost(error: Array, rows: Rows, fitted: NDArray[np.bool_], count: int, side: float, numbers: FitNumbers) -> Array:
    return np.bincount(rows, fitted * np.log1p((error / (numbers.scale * side / 640)) ** 2), count)
