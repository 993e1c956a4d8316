"""Visual hulls: the largest body that no mask contradicts, carved from coarse cells to fine ones.

Laurentini 1994; the numbers of cameras that must see a cell and may contradict it: spec calibration.md B and C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

Points = NDArray[np.float64]


@dataclass(frozen=True)
class HullNumbers:
    """How a hull is carved.

    Attributes:
        seen_share: share of the cameras that must see a cell (at least two must).
        miss_share: share of the cameras whose mask may contradict a cell, for masks are not exact.
        coarsest: cells along the side of the first grid.
    """

    seen_share: float = 0.2
    miss_share: float = 0.04
    coarsest: int = 24


@dataclass(frozen=True)
class Silhouette:
    """One camera's mask.

    Attributes:
        outside: (H, W) float32, distance in pixels to the nearest pixel that may show the body, 0 on it.
        K: (3, 3) intrinsics, pixel centres at +0.5; world_to_camera: (4, 4).
    """

    outside: NDArray[np.float32]
    K: NDArray[np.float64]
    world_to_camera: NDArray[np.float64]


def silhouette(body: NDArray[np.bool_], K: NDArray[np.float64], world_to_camera: NDArray[np.float64]) -> Silhouette:
    """The silhouette of a mask (H, W) that is True where the body is or may be."""
    if not body.any():
        return Silhouette(np.full(body.shape, 1e6, np.float32), K, world_to_camera)
    return Silhouette(cv2.distanceTransform((~body).astype(np.uint8), cv2.DIST_L2, 5).astype(np.float32), K, world_to_camera)


def carve(views: Sequence[Silhouette], center: Points, half: float, voxel: float, numbers: HullNumbers = HullNumbers()) -> tuple[Points, Points]:
    """The voxels of the hull that have an empty neighbour, and all of its voxels: centres (S, 3) and (M, 3), scene units.

    Args:
        center, half: middle and half the side of the cube in which the body lies; voxel: side of the smallest cells.
    """
    levels = max(0, int(np.ceil(np.log2(max(2 * half / voxel / numbers.coarsest, 1.0)))))
    count = int(np.ceil(2 * half / (voxel * 2**levels)))
    corner = center - count * voxel * 2**levels / 2
    cells = np.stack(np.meshgrid(*[np.arange(count)] * 3, indexing="ij"), -1).reshape(-1, 3)
    for level in range(levels, -1, -1):
        size = voxel * 2**level
        cells = cells[_possible(corner + (cells + 0.5) * size, size if level else 0.0, views, numbers)]
        if level:
            cells = (cells[:, None] * 2 + _CHILDREN).reshape(-1, 3)
    return corner + (cells[_exposed(cells)] + 0.5) * voxel, corner + (cells + 0.5) * voxel


def thinned(
    points: Points, views: Sequence[Silhouette], center: Points, half: float, voxel: float, most: int, numbers: HullNumbers
) -> tuple[Points, float]:
    """The surface voxels of a hull, carved again with larger ones while they are more than `most`, and their side."""
    while len(points) > most:
        voxel *= max(1.05, float(np.sqrt(len(points) / most)))
        points, _ = carve(views, center, half, voxel, numbers)
    return points, voxel


_CHILDREN = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), -1).reshape(1, 8, 3)


def _possible(points: Points, size: float, views: Sequence[Silhouette], numbers: HullNumbers) -> NDArray[np.bool_]:
    """(N,) whether cells of this size around `points` may touch the body; size 0 asks for the points themselves."""
    seen, missed = np.zeros(len(points), np.int32), np.zeros(len(points), np.int32)
    for view in views:
        pixel, depth = projected(points, view.K, view.world_to_camera)
        height, width = view.outside.shape
        front = depth > max(size, 1e-9)
        reach = np.where(front, 0.9 * size * view.K[0, 0] / np.where(front, depth, 1.0), 0.0)  # half a diagonal is 0.87 sides
        x, y = pixel[:, 0], pixel[:, 1]
        inside = front & (x > -reach) & (y > -reach) & (x < width + reach) & (y < height + reach)
        column, row = (np.clip(np.where(inside, v, 0), 0, n - 1).astype(np.int64) for v, n in ((x, width), (y, height)))
        seen += inside
        missed += inside & (view.outside[row, column] > reach + (0.75 if size else 0.0))
    needed = max(2, int(np.ceil(numbers.seen_share * len(views))))
    return (seen >= needed) & (missed <= int(numbers.miss_share * len(views)))


def projected(points: Points, K: NDArray[np.float64], world_to_camera: NDArray[np.float64]) -> tuple[Points, Points]:
    """Pixels (N, 2) and depths (N,) of world points; a pixel behind the camera means nothing but is finite."""
    local = points @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
    depth = local[:, 2]
    flat = local @ K.T
    return flat[:, :2] / np.where(np.abs(depth) > 1e-9, depth, 1e-9)[:, None], depth


def _exposed(cells: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(M,) whether one of the six neighbours of each cell is not in the set."""
    if len(cells) == 0:
        return np.zeros(0, bool)
    shifted = tuple((cells - cells.min(0)).T)
    grid = np.zeros([n.max() + 1 for n in shifted], bool)
    grid[shifted] = True
    return ~binary_erosion(grid)[shifted]


def visible(points: Points, view: Silhouette, voxel: float, tolerance: float = 2.0) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """(N,) which of the surface voxels `points` this camera sees, and their pixels (N, 2) column and row.

    Args:
        tolerance: a point may lie this many voxels behind the nearest one of its pixel.
    """
    nearest, where, depth = front(points, view.K, view.world_to_camera, view.outside.shape, voxel)
    seen = np.isfinite(depth)
    seen[seen] = depth[seen] < nearest[where[seen, 1], where[seen, 0]] + tolerance * voxel
    return seen, where


def front(
    points: Points, K: NDArray[np.float64], world_to_camera: NDArray[np.float64], shape: tuple[int, ...], voxel: float
) -> tuple[NDArray[np.float32], NDArray[np.int64], Points]:
    """Depth (H, W) of the nearest of the surface voxels `points` in each pixel, infinite where there is none; and of all of them the pixel (N, 2),
    column and row, and the depth (N,), infinite outside the image."""
    pixel, depth = projected(points, K, world_to_camera)
    where = np.floor(np.clip(pixel, -1, 1e6)).astype(np.int64)
    inside = (depth > voxel) & (where >= 0).all(1) & (where[:, 0] < shape[1]) & (where[:, 1] < shape[0])
    nearest = np.full(shape, np.inf, np.float32)
    if inside.any():
        np.minimum.at(nearest, (where[inside, 1], where[inside, 0]), depth[inside].astype(np.float32))
        radius = int(np.ceil(0.5 * voxel * K[0, 0] / float(np.median(depth[inside]))))
        nearest = cv2.erode(nearest, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8))
    return nearest, where, np.where(inside, depth, np.inf)
