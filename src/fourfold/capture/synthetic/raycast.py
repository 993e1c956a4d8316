"""Ray casting of solids: depth and owner at any image positions, and anti-aliased colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.synthetic.solids import Solid
from fourfold.capture.synthetic.textures import face_of

Array = NDArray[np.floating[Any]]

LIGHT = np.array([-0.45, -0.75, -0.48])
"""(3,) direction towards the lamp, world frame: above, left and on the -z side."""


@dataclass(frozen=True)
class Eye:
    """One image's camera for ray casting: K (3, 3), world_to_camera (4, 4), width and height in pixels."""

    K: Array
    world_to_camera: Array
    width: int
    height: int

    @property
    def center(self) -> Array:
        """(3,) camera centre in the world."""
        return -self.world_to_camera[:3, :3].T @ self.world_to_camera[:3, 3]

    def grid(self, supersample: int, dtype: type[np.floating[Any]]) -> tuple[Array, Array]:
        """x/z (1, W s) and y/z (H s, 1) of the sample positions; with supersample 1 these are the pixel centres."""
        x = ((np.arange(self.width * supersample) + 0.5) / supersample - self.K[0, 2]) / self.K[0, 0]
        y = ((np.arange(self.height * supersample) + 0.5) / supersample - self.K[1, 2]) / self.K[1, 1]
        return x.astype(dtype)[None, :], y.astype(dtype)[:, None]


def local_ray(solid: Solid, moment: int, eye: Eye) -> tuple[Array, Array]:
    """Origin (3,) and the (3, 3) matrix from (x/z, y/z, 1) to the direction, both in the solid's local frame at time index `moment`."""
    to_local = solid.world_to_local[moment]
    return to_local[:3, :3] @ eye.center + to_local[:3, 3], to_local[:3, :3] @ eye.world_to_camera[:3, :3].T


def directions(matrix: Array, x: Array, y: Array) -> Array:
    """(3, ...) local directions of rays at x/z and y/z, broadcast against each other."""
    m = matrix.astype(x.dtype)
    shape = np.broadcast_shapes(x.shape, y.shape)
    out = np.empty((3, *shape), x.dtype)
    for row in range(3):
        np.add(m[row, 0] * x, m[row, 1] * y + m[row, 2], out=out[row])
    return out


def trace(solids: Sequence[Solid], moment: int, eye: Eye, x: Array, y: Array) -> tuple[Array, NDArray[np.int16]]:
    """Depth (H, W) along the optical axis (inf where nothing is hit) and the index (H, W) int16 of the solid hit, -1 none.

    x (1, W) and y (H, 1) are increasing x/z and y/z, as `Eye.grid` gives them.
    """
    depth = np.full((y.shape[0], x.shape[1]), np.inf, x.dtype)
    owner = np.full(depth.shape, -1, np.int16)
    for index, solid in enumerate(solids):
        rows, columns = _window(solid, moment, eye, x[0], y[:, 0])
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        origin, matrix = local_ray(solid, moment, eye)
        t = solid.intersect(origin, directions(matrix, x[:, columns], y[rows]))
        nearer = t < depth[rows, columns]
        np.copyto(depth[rows, columns], t, where=nearer)
        np.copyto(owner[rows, columns], np.int16(index), where=nearer)
    return depth, owner


def trace_points(solids: Sequence[Solid], moment: int, eye: Eye, x: Array, y: Array) -> Array:
    """Depth (N,) of the first hit of single rays at x/z (N,) and y/z (N,), inf where there is none."""
    depth = np.full(x.shape, np.inf)
    for solid in solids:
        origin, matrix = local_ray(solid, moment, eye)
        np.minimum(depth, solid.intersect(origin, directions(matrix, x, y)), out=depth)
    return depth


def _window(solid: Solid, moment: int, eye: Eye, x: Array, y: Array) -> tuple[slice, slice]:
    """Rows and columns that a solid can cover: its bounding box, projected."""
    full = slice(0, y.size), slice(0, x.size)
    if solid.shape == "room":
        return full
    corners = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8) * solid.extent[:, None]
    to_camera = eye.world_to_camera @ solid.local_to_world[moment]
    seen = to_camera[:3, :3] @ corners + to_camera[:3, 3:]
    if seen[2].min() <= 1e-3:
        return full if seen[2].max() > 0 else (slice(0, 0), slice(0, 0))
    across, down = seen[0] / seen[2], seen[1] / seen[2]
    columns = slice(int(np.searchsorted(x, across.min())), int(np.searchsorted(x, across.max(), side="right")))
    rows = slice(int(np.searchsorted(y, down.min())), int(np.searchsorted(y, down.max(), side="right")))
    return rows, columns


def colour(solids: Sequence[Solid], moment: int, eye: Eye, supersample: int, shading: float, gain: float = 1.0) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 image, the mean of supersample x supersample rays per pixel times `gain`, cut off at white.

    `shading` is the strength of the fixed light: brightness runs over 1 +- shading with the surface normal; 0 leaves the paint alone.
    """
    x, y = eye.grid(supersample, np.float32)
    depth, owner = trace(solids, moment, eye, x, y)
    flat_owner, flat_depth = owner.ravel(), depth.ravel()
    image = np.zeros((flat_owner.size, 3), np.float32)
    for index in np.flatnonzero(np.bincount(flat_owner + 1, minlength=len(solids) + 1)[1:]):
        where = np.flatnonzero(flat_owner == index)
        image[where] = _paint(solids[index], moment, eye, (x[0, where % x.size], y[where // x.size, 0], flat_depth[where]), supersample, shading)
    s = supersample
    mean = image.reshape(eye.height, s, eye.width, s, 3).mean((1, 3), dtype=np.float32) * np.float32(gain)
    return np.clip(mean + 0.5, 0, 255).astype(np.uint8)


def _paint(solid: Solid, moment: int, eye: Eye, hits: tuple[Array, Array, Array], supersample: int, shading: float) -> NDArray[np.float32]:
    """(N, 3) shaded colours in [0, 255] of hits (x/z, y/z, depth), each (N,), on one solid."""
    x, y, depth = hits
    origin, matrix = local_ray(solid, moment, eye)
    direction = directions(matrix, x, y)
    local = origin.astype(np.float32)[:, None] + depth * direction
    normal = solid.normal(local)
    to_local = solid.world_to_local[moment, :3, :3].astype(np.float32)
    length = np.linalg.norm(to_local.T @ normal, axis=0)
    # direction . normal is the same in local and world coordinates, because normals transform by the inverse transpose
    facing = np.abs((direction * normal).sum(0)) / length
    footprint = depth * (1 + x * x + y * y) / np.maximum(facing, 0.02) / np.float32(eye.K[0, 0] * supersample)
    face, u, v = face_of(local, solid.extent, solid.texture.sign)
    paint = solid.texture.sample(face, u, v, footprint)
    if shading:
        lamp = (to_local @ (LIGHT / np.linalg.norm(LIGHT))).astype(np.float32)
        paint *= (1 + np.float32(shading) * (lamp @ normal / length))[:, None]
    return paint
