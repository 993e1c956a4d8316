"""Band-limited procedural textures: six painted faces per solid, kept with their mip levels in one atlas.

Each local surface point belongs to the face of the dominant axis of its (extent-normalised) coordinates; u and v in [0, 1] are the other
two coordinates over that one. Round solids are painted from solid noise, so their faces meet without seams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.floating[Any]]
Image = NDArray[np.float32]

LEVELS = 6
# Faces in the order -x, +x, -y, +y, -z, +z: which local axis is u, which is v, and the sign of u that keeps writing readable from outside.
FACE_U = np.array([2, 2, 0, 0, 0, 0])
FACE_V = np.array([1, 1, 2, 2, 1, 1])
FACE_SIGN = np.array([-1, 1, 1, 1, 1, -1])


@dataclass(frozen=True)
class Texture:
    """Six faces with mip levels in one uint8 atlas.

    Attributes:
        atlas: (H, W, 3) uint8.
        corner: (6, L, 2) int32 x, y of each face and level in the atlas.
        size: (6, L, 2) int32 width, height.
        texel: (6,) metres per texel of level 0.
        sign: (6,) +1 or -1, direction of u along its axis.
    """

    atlas: NDArray[np.uint8]
    corner: NDArray[np.int32]
    size: NDArray[np.int32]
    texel: Array
    sign: NDArray[np.int64]

    def sample(self, face: NDArray[np.int64], u: Array, v: Array, footprint: Array) -> NDArray[np.float32]:
        """(N, 3) colours in [0, 255] at face (N,), u, v (N,) in [0, 1]; `footprint` (N,) is the width of the sample on the surface, metres."""
        levels = self.corner.shape[1]
        # The faces hold nothing finer than four texels, so a footprint of two texels is still safe on level 0.
        wanted = np.clip(np.log2(np.maximum(footprint / self.texel.astype(np.float32)[face], 1e-6)) - 1, 0, levels - 1.001)
        level = wanted.astype(np.int64)
        share = (wanted - level).astype(np.float32)[:, None]
        colour = self._lookup(face, level, u, v)
        far = np.flatnonzero(share[:, 0] > 0)
        if far.size:
            colour[far] += share[far] * (self._lookup(face[far], level[far] + 1, u[far], v[far]) - colour[far])
        return colour

    def _lookup(self, face: NDArray[np.int64], level: NDArray[np.int64], u: Array, v: Array) -> NDArray[np.float32]:
        index = face * self.corner.shape[1] + level
        corner, size = self.corner.reshape(-1, 2).astype(np.float32), self.size.reshape(-1, 2).astype(np.float32)
        width, height = size[:, 0][index], size[:, 1][index]
        x = corner[:, 0][index] + np.clip(u * width - 0.5, 0, width - 1)  # cv2 puts pixel centres on integers
        y = corner[:, 1][index] + np.clip(v * height - 0.5, 0, height - 1)
        return _remap(self.atlas, x, y)


def _remap(image: NDArray[np.uint8], x: Array, y: Array) -> NDArray[np.float32]:
    columns = 1024
    rows = -(-x.size // columns)
    maps = np.zeros((2, rows * columns), np.float32)
    maps[0, : x.size], maps[1, : x.size] = x, y
    colours = cv2.remap(image, maps[0].reshape(rows, columns), maps[1].reshape(rows, columns), cv2.INTER_LINEAR)
    return colours.reshape(-1, 3)[: x.size].astype(np.float32)


def atlas(faces: list[Image], texel: Array, inside: bool = False) -> Texture:
    """Pack six (H, W, 3) float images in [0, 1] and their mip levels; `inside` is for a room, seen from within."""
    pyramids = [_pyramid(f) for f in faces]
    levels = len(pyramids[0])
    corner, size = np.zeros((6, levels, 2), np.int32), np.zeros((6, levels, 2), np.int32)
    width = max(sum(image.shape[1] for image in p) for p in pyramids)
    height = sum(p[0].shape[0] for p in pyramids)
    sheet = np.zeros((height, width, 3), np.uint8)
    top = 0
    for face, pyramid in enumerate(pyramids):
        left = 0
        for level, image in enumerate(pyramid):
            h, w = image.shape[:2]
            sheet[top : top + h, left : left + w] = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
            corner[face, level], size[face, level] = (left, top), (w, h)
            left += w
        top += pyramid[0].shape[0]
    return Texture(sheet, corner, size, np.asarray(texel, float), FACE_SIGN * (-1 if inside else 1))


def _pyramid(image: Image) -> list[Image]:
    levels = [image]
    for _ in range(LEVELS - 1):
        h, w = (max(1, n // 2) for n in levels[-1].shape[:2])
        levels.append(cv2.resize(levels[-1], (w, h), interpolation=cv2.INTER_AREA))
    return levels


def face_of(local: Array, extent: Array, sign: NDArray[np.int64]) -> tuple[NDArray[np.int64], Array, Array]:
    """Face (N,), u (N,) and v (N,) of local surface points (3, N) of a solid with half sizes `extent` (3,)."""
    scaled = local / extent.astype(local.dtype)[:, None]
    size = np.abs(scaled)
    axis = np.where(size[0] >= np.maximum(size[1], size[2]), 0, np.where(size[1] >= size[2], 1, 2))
    columns = np.arange(local.shape[1])
    major = scaled[axis, columns]
    face = 2 * axis + (major > 0)
    scale = 0.5 / np.abs(major)
    u = 0.5 + scaled[FACE_U[face], columns] * scale * sign.astype(local.dtype)[face]
    v = 0.5 + scaled[FACE_V[face], columns] * scale
    return face, u, v


def face_directions(face: int, resolution: int, extent: Array) -> Array:
    """(3, resolution * resolution) local directions of a face's texel centres, row by row: the inverse of `face_of` up to length."""
    grid = (np.arange(resolution) + 0.5) / resolution * 2 - 1
    v, u = np.meshgrid(grid, grid, indexing="ij")
    direction = np.zeros((3, resolution * resolution))
    direction[face // 2] = 1 if face % 2 else -1
    direction[FACE_U[face]] = u.ravel() * FACE_SIGN[face]
    direction[FACE_V[face]] = v.ravel()
    return direction * extent[:, None]


def plane_noise(rng: np.random.Generator, size_m: tuple[float, float], texel: float, wavelength: float) -> Image:
    """(H, W) smooth value noise in about [0, 1] over a plane of size_m (width, height) metres, one random number per `wavelength` / 2.

    The random lattice does not depend on `texel`: finer images show the same pattern.
    """
    width, height = (max(2, round(s / texel)) for s in size_m)
    cells = [int(np.ceil(2 * s / wavelength)) + 3 for s in size_m]
    lattice = rng.random((cells[1], cells[0]), dtype=np.float32)
    x = ((np.arange(width, dtype=np.float32) + 0.5) * (2 * texel / wavelength) + 1)[None].repeat(height, 0)
    y = ((np.arange(height, dtype=np.float32) + 0.5) * (2 * texel / wavelength) + 1)[:, None].repeat(width, 1)
    return cv2.remap(lattice, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


class SolidNoise:
    """Smooth noise in space, for round solids."""

    def __init__(self, rng: np.random.Generator, cells: int = 32) -> None:
        volume = ndimage.gaussian_filter(rng.standard_normal((cells, cells, cells)), 1.1, mode="wrap")
        self._volume = (volume / volume.std()).astype(np.float32)

    def __call__(self, points: Array, wavelength: float, offset: Array) -> Array:
        """(N,) values of mean 0 and deviation about 1 at points (3, N), metres; `wavelength` in metres, `offset` (3,) picks another pattern."""
        coordinates = points * (4.5 / wavelength) + offset[:, None]
        return ndimage.map_coordinates(self._volume, coordinates, order=1, mode="grid-wrap")
