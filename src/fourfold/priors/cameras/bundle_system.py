"""The normal equations of a bundle of tracks: x ~ K (R_f d_n + rho_n t_f), a direction and an inverse distance per track.

With all t = 0 it is a camera that only turned, so turning and travelling are one model. The tracks are eliminated (Schur complement), what
remains has six unknowns per frame and two per lens. Compiled (kernels/bundle.cpp), with a readable twin in numpy here.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from fourfold.errors import FourfoldError
from fourfold.kernels.library import load

Array = NDArray[np.float64]

NEAREST = 1e-2
"""Smallest depth in front of a camera, in units of the track's distance; nearer or behind is treated as if it were there."""
FLOOR = 1e-6
"""Added to every diagonal: what nothing is known about stays where it is."""


@dataclass(frozen=True)
class Sightings:
    """M observations of N tracks in F frames through C lenses, track after track and by frame within a track.

    xy (M, 2) pixels; frame (M,) int32; first (N + 1,) int64 first observation of each track; lens_of (F,) int32 lens of each frame, not
    decreasing; centre (C, 2) principal points.
    """

    xy: Array
    frame: NDArray[np.int32]
    first: NDArray[np.int64]
    lens_of: NDArray[np.int32]
    centre: Array

    @property
    def frames(self) -> int:
        """F."""
        return len(self.lens_of)

    @property
    def tracks(self) -> int:
        """N."""
        return len(self.first) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) observations per track."""
        return np.diff(self.first)

    @cached_property
    def track(self) -> NDArray[np.int64]:
        """(M,) track of each observation."""
        return np.repeat(np.arange(self.tracks), self.lengths)

    def of(self, keep: NDArray[np.bool_]) -> Sightings:
        """The tracks where `keep` (N,) is true."""
        lengths = self.lengths[keep]
        rows = np.repeat(keep, self.lengths)
        return Sightings(self.xy[rows], self.frame[rows], np.concatenate([[0], np.cumsum(lengths)]), self.lens_of, self.centre)


@dataclass(frozen=True)
class Solved:
    """Where everything is: rotation (F, 3, 3) and translation (F, 3) world to camera, direction (N, 3) of unit length and inverse (N,) distance of
    the tracks in the world, focal (C,) pixels and bend (C,), the radial distortion k of p (1 + k |p|^2)."""

    rotation: Array
    translation: Array
    direction: Array
    inverse: Array
    focal: Array
    bend: Array

    @cached_property
    def across(self) -> Array:
        """(N, 2, 3) the tangents of the directions."""
        return tangents(self.direction)


def camera_points(seen: Sightings, at: Solved) -> Array:
    """(M, 3) the tracks before their cameras, in units of their distances."""
    track = seen.track
    inverse, result = at.inverse[track], np.empty((len(track), 3))
    along = [at.direction[track, j] for j in range(3)]
    for i in range(3):  # one column after the other: a product of small matrices for each observation takes several times as long
        turned = sum(np.take(at.rotation[:, i, j], seen.frame) * along[j] for j in range(3))
        result[:, i] = turned + inverse * np.take(at.translation[:, i], seen.frame)
    return result


def residuals(seen: Sightings, at: Solved) -> Array:
    """(M, 2) projected minus observed, pixels."""
    library = _library()
    if library is None:
        return reference_residuals(seen, at)
    call, _kept = _call(seen, at)
    out = np.empty((len(seen.xy), 2))
    library.ff_bundle_residuals(ctypes.byref(call), out.ctypes.data)
    return out


def reference_residuals(seen: Sightings, at: Solved) -> Array:
    """The plain twin of `residuals`."""
    c = camera_points(seen, at)
    p = c[:, :2] / np.maximum(c[:, 2:], NEAREST)
    lens = seen.lens_of[seen.frame]
    grown = 1 + at.bend[lens] * np.einsum("mi,mi->m", p, p)
    return p * (at.focal[lens] * grown)[:, None] + seen.centre[lens] - seen.xy


def tangents(direction: Array) -> Array:
    """(N, 2, 3) two unit vectors across each direction."""
    aside = np.where(np.abs(direction[:, :1]) < 0.7, [[1.0, 0, 0]], [[0, 1.0, 0]])
    first = np.cross(direction, aside)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return np.stack([first, np.cross(direction, first)], axis=1)


@dataclass(frozen=True)
class System:
    """The reduced equations at one point: matrix (P, P), of which the upper triangle counts, and side (P,), P = 6 F + 2 C."""

    matrix: Array
    side: Array

    def held(self, fixed: NDArray[np.bool_]) -> System:
        """The equations with the unknowns where `fixed` (P,) is true kept at zero."""
        self.matrix[fixed], self.matrix[:, fixed], self.side[fixed] = 0, 0, 0
        self.matrix[fixed, fixed] = 1
        return self


def reduce(seen: Sightings, at: Solved, weight: Array, pull: Array, damping: float) -> System:
    """The equations of frames and lenses after eliminating the tracks.

    Args:
        weight: (M,) of the observations.
        pull: (N, 2) slope and curvature of what else acts on the inverse distances.
        damping: share of each diagonal that is added to it.
    """
    library = _library()
    if library is None:
        return reference_system(seen, at, weight, pull, damping)[0]
    call, _kept = _call(seen, at, weight, pull, damping)
    size = 6 * seen.frames + 2 * len(at.focal)
    matrix, side = np.empty((size, size)), np.empty(size)
    _check(library.ff_bundle_reduce(ctypes.byref(call), matrix.ctypes.data, side.ctypes.data))
    return System(matrix, side)


def follow(seen: Sightings, at: Solved, weight: Array, pull: Array, damping: float, step: Array) -> Array:
    """(N, 3) steps of the tracks that follow from the `step` (P,) of frames and lenses; arguments as `reduce`."""
    library = _library()
    if library is None:
        _, inverse, mixed, side = reference_system(seen, at, weight, pull, damping)
        return np.einsum("nij,nj->ni", inverse, side - (mixed @ step).reshape(-1, 3))
    call, _kept = _call(seen, at, weight, pull, damping)
    out = np.empty((seen.tracks, 3))
    step = np.ascontiguousarray(step)
    _check(library.ff_bundle_follow(ctypes.byref(call), step.ctypes.data, out.ctypes.data))
    return out


def solve_positive(matrix: Array, sides: Array) -> Array | None:
    """Solutions (..., P) of a positive definite `matrix` (P, P), overwritten, of which the upper triangle counts; None where it is not positive."""
    library = _library()
    if library is None:
        full = np.triu(matrix) + np.triu(matrix, 1).T
        try:
            np.linalg.cholesky(full)
        except np.linalg.LinAlgError:
            return None
        return np.linalg.solve(full, sides.reshape(-1, len(full)).T).T.reshape(sides.shape)
    solutions = np.ascontiguousarray(sides, np.float64).copy()
    columns = solutions.size // len(matrix)
    return None if library.ff_solve_positive(matrix.ctypes.data, solutions.ctypes.data, len(matrix), columns) else solutions


def reference_system(seen: Sightings, at: Solved, weight: Array, pull: Array, damping: float) -> tuple[System, Array, sparse.csr_matrix, Array]:
    """The plain twin of `reduce`: the equations, the tracks' inverted blocks (N, 3, 3), what mixes them with frames and lenses (3 N, P), and
    the tracks' side (N, 3)."""
    by_frame, by_lens, by_track = jacobians(seen, at)
    rows, size, root = len(seen.xy), 6 * seen.frames + 2 * len(at.focal), np.sqrt(weight)[:, None, None]
    pixel = np.arange(2 * rows).reshape(rows, 2, 1)
    columns = np.concatenate(
        [6 * seen.frame[:, None] + np.arange(6), 6 * seen.frames + 2 * seen.lens_of[seen.frame][:, None] + np.arange(2)], axis=1, dtype=np.int64
    )
    values = np.concatenate([by_frame, by_lens], axis=2) * root
    A = sparse.csr_matrix((values.ravel(), ((pixel + 0 * columns[:, None]).ravel(), (columns[:, None] + 0 * pixel).ravel())), (2 * rows, size))
    own = 3 * seen.track[:, None, None] + np.arange(3)
    B = sparse.csr_matrix(((by_track * root).ravel(), ((pixel + 0 * own).ravel(), (own + 0 * pixel).ravel())), (2 * rows, 3 * seen.tracks))
    r = (reference_residuals(seen, at) * root[:, 0]).ravel()
    block = np.zeros((seen.tracks, 3, 3))
    np.add.at(block, seen.track, np.einsum("mka,mkb->mab", by_track * root, by_track * root))
    side = -(B.T @ r).reshape(-1, 3)
    side[:, 2] -= pull[:, 0]
    block += np.einsum("nij,ij->nij", block, damping * np.eye(3)) + FLOOR * np.eye(3)
    block[:, 2, 2] += pull[:, 1]
    inverse = np.linalg.inv(block)
    matrix, mixed = (A.T @ A).toarray(), (B.T @ A).tocsr()
    matrix += np.diag(damping * np.diag(matrix) + FLOOR)
    reduced = sparse.block_diag(list(inverse)) @ mixed
    return System(matrix - (mixed.T @ reduced).toarray(), -(A.T @ r) - reduced.T @ side.ravel()), inverse, mixed, side


def jacobians(seen: Sightings, at: Solved) -> tuple[Array, Array, Array]:
    """Derivatives of the residuals: (M, 2, 6) by a left rotation vector and translation of the frame, (M, 2, 2) by log focal and bend of the
    lens, (M, 2, 3) by the track's steps along its tangents and in inverse distance."""
    track, lens = seen.track, seen.lens_of[seen.frame]
    R, t = at.rotation[seen.frame], at.translation[seen.frame]
    far = np.matmul(R, at.direction[track][..., None])[..., 0]
    c = far + at.inverse[track, None] * t
    z = np.maximum(c[:, 2], NEAREST)
    p = c[:, :2] / z[:, None]
    f, k, r2 = at.focal[lens], at.bend[lens], np.einsum("mi,mi->m", p, p)
    by_p = f[:, None, None] * ((1 + k * r2)[:, None, None] * np.eye(2) + 2 * k[:, None, None] * p[:, :, None] * p[:, None, :])
    p_by_c = np.concatenate([np.eye(2) + 0 * by_p, -p[:, :, None]], axis=2) / z[:, None, None]
    by_c = by_p @ p_by_c
    across = np.matmul(R[:, None], at.across[track][..., None])[..., 0]
    by_track = np.stack([*(np.einsum("mki,mi->mk", by_c, across[:, j]) for j in (0, 1)), np.einsum("mki,mi->mk", by_c, t)], axis=2)
    by_frame = np.concatenate([np.cross(far[:, None], by_c), by_c * at.inverse[track, None, None]], axis=2)
    return by_frame, np.stack([p * (f * (1 + k * r2))[:, None], p * (f * r2)[:, None]], axis=2), by_track


class _Call(ctypes.Structure):
    """`FFBundle` of kernels/bundle.cpp."""

    _names = ("xy", "weight", "frame", "first", "rotation", "translation", "lens_of", "lens", "direction", "tangents", "inverse", "pull")
    _fields_ = (
        *((name, ctypes.c_void_p) for name in _names),
        *((name, ctypes.c_int64) for name in ("frames", "lenses", "tracks")),
        ("damping", ctypes.c_double),
    )


def _call(
    seen: Sightings, at: Solved, weight: Array | None = None, pull: Array | None = None, damping: float = 0.0
) -> tuple[_Call, list[NDArray[np.generic] | None]]:
    """The kernel's argument and the arrays it points to, which must outlive it; residuals need no `weight` and no `pull`."""
    lens = np.concatenate([at.focal[:, None], at.bend[:, None], seen.centre], axis=1)
    given: tuple[tuple[NDArray[np.generic] | None, type], ...] = (
        (seen.xy, np.float64),
        (weight, np.float64),
        (seen.frame, np.int32),
        (seen.first, np.int64),
        (at.rotation, np.float64),
        (at.translation, np.float64),
        (seen.lens_of, np.int32),
        (lens, np.float64),
        (at.direction, np.float64),
        (None if weight is None else at.across, np.float64),
        (at.inverse, np.float64),
        (pull, np.float64),
    )
    kept = [None if array is None else np.ascontiguousarray(array, dtype) for array, dtype in given]
    return _Call(*(None if a is None else a.ctypes.data for a in kept), seen.frames, len(at.focal), seen.tracks, damping), kept


def _library() -> ctypes.CDLL | None:
    library = load()
    if library is not None and library.ff_bundle_reduce.argtypes is None:
        pointer = ctypes.c_void_p
        library.ff_bundle_reduce.argtypes = [ctypes.POINTER(_Call), pointer, pointer]
        library.ff_bundle_follow.argtypes = [ctypes.POINTER(_Call), pointer, pointer]
        library.ff_bundle_residuals.argtypes = [ctypes.POINTER(_Call), pointer]
        library.ff_solve_positive.argtypes = [pointer, pointer, ctypes.c_int64, ctypes.c_int64]
    return library


def _check(status: int) -> None:
    if status:
        raise FourfoldError("memory ran out while the cameras were adjusted: use a shorter clip or a smaller --quality")
