"""Which pixels of a test image the training images saw: by flow, as DyCheck does, or by back-projected depth, as LetCamsGo does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

Array = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Seen = Callable[[NDArray[np.uint8], NDArray[np.uint8]], Array]
"""(test image, training image) -> (H, W) confidence in [0, 1] that a test pixel is seen there, 0.5 at the tolerance of a flow round trip."""


@dataclass(frozen=True)
class DepthView:
    """A pinhole view with depth: K (3, 3), world_to_camera (4, 4), depth (H, W) along the optical axis, 0 unknown."""

    K: Array
    world_to_camera: Array
    depth: Array


@dataclass(frozen=True)
class Reprojection:
    """Numbers of co-visibility by back-projection (spec sparse_dynamic_cameras.md section 8).

    Attributes:
        tolerance: a point is seen if it lies at most this share of the depth from the test view's surface.
        clean: (operation, kernel size in pixels, repetitions) of the morphology that turns points into regions.
    """

    tolerance: float = 0.05
    clean: tuple[tuple[str, int, int], ...] = (("close", 5, 2), ("open", 5, 2), ("close", 9, 1))


def least_views(training_images: int) -> int:
    """How many training images must see a pixel more than: max(5, n // 10). Source: DyCheck, spec evaluation_and_datasets.md section 1."""
    return max(5, training_images // 10)


def covisible_by_flow(image: NDArray[np.uint8], training: Sequence[NDArray[np.uint8]], seen: Seen, least: int | None = None) -> Mask:
    """(H, W) pixels of `image` (H, W, 3) that more than `least` of the `training` images see, by a forward-backward check of optical flow.

    Args:
        least: None for `least_views`, and one less than all training images where there are no more than that (few cameras).
    """
    if least is None:
        least = min(least_views(len(training)), max(len(training) - 1, 0))
    count = np.zeros(image.shape[:2], np.int64)
    for other in training:
        count += seen(image, other) > 0.5
    return count > least


def covisible_by_depth(test: DepthView, training: Iterable[DepthView], numbers: Reprojection = Reprojection()) -> Mask:
    """(H, W) pixels of `test` at which some training view's depth puts a point on the test view's own surface.

    Where the test view brings no depth (all 0) the nearest of all the points that fall into a pixel is its surface.
    """
    height, width = test.depth.shape
    pixels, depths = [np.zeros(0, np.int64)], [np.zeros(0)]
    for view in training:
        index, depth = _splat(view, test)
        pixels.append(index)
        depths.append(depth)
    index, depth = np.concatenate(pixels), np.concatenate(depths)
    surface = test.depth.astype(np.float64).ravel()
    if not (surface > 0).any():
        nearest = np.full(height * width, np.inf)
        np.minimum.at(nearest, index, depth)
        surface = np.where(np.isfinite(nearest), nearest, 0)
    hit = np.abs(depth - surface[index]) < numbers.tolerance * surface[index]
    seen = np.zeros(height * width, np.uint8)
    seen[index[hit]] = 1
    return cleaned(seen.reshape(height, width), numbers)


def cleaned(seen: NDArray[np.uint8], numbers: Reprojection = Reprojection()) -> Mask:
    """Openings and closings of a (H, W) picture of points."""
    operations = {"close": cv2.MORPH_CLOSE, "open": cv2.MORPH_OPEN}
    for name, size, times in numbers.clean:
        seen = cv2.morphologyEx(seen, operations[name], np.ones((size, size), np.uint8), iterations=times).astype(np.uint8)
    return seen > 0


def cameramen(objects: Mask, K: Array, world_to_camera: Array, centres: Array, reach: float = 0.05) -> Mask:
    """(H, W) parts of the object mask `objects` that hold a camera: those within `reach` of the image's diagonal of a camera centre.

    Of people whose outlines touch only the one that holds the camera is taken, see `_piece`.

    Args:
        K, world_to_camera: the test camera. centres: (C, 3) centres of the training cameras at the same moment, scene units.

    LetCamsGo leaves the people who film out of every mask (spec sparse_dynamic_cameras.md section 8); who films is found from where the
    training cameras are.
    """
    points = np.asarray(centres, np.float64) @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
    ahead = points[points[:, 2] > 1e-6] @ np.asarray(K, np.float64).T
    count, labels = cv2.connectedComponents(objects.astype(np.uint8))
    if count <= 1 or not len(ahead):
        return np.zeros_like(objects)
    height, width = objects.shape
    ys, xs = np.nonzero(labels)
    found = np.zeros_like(objects)
    for x, y in ahead[:, :2] / ahead[:, 2:]:
        distance = np.hypot(xs + 0.5 - x, ys + 0.5 - y)
        nearest = int(distance.argmin())
        if distance[nearest] <= reach * float(np.hypot(height, width)):
            found |= _piece(labels == labels[ys[nearest], xs[nearest]], int(ys[nearest]), int(xs[nearest]))
    return found


def _piece(component: Mask, row: int, column: int, share: float = 1 / 3) -> Mask:
    """The part of a connected (H, W) mask that belongs to its pixel (row, column).

    The mask is eroded until it falls into pieces of which another is at least `share` as large as the one nearest to the pixel; then every
    pixel goes with its nearest piece. A single body sheds only small pieces before it vanishes, and stays whole.
    """
    inside = cv2.distanceTransform(np.pad(component, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    for radius in np.arange(1.0, float(inside.max()), 1.0):
        count, labels, stats, _ = cv2.connectedComponentsWithStats((inside > radius).astype(np.uint8))
        if count <= 2:
            continue
        nearest = np.asarray(distance_transform_edt(labels == 0, return_distances=False, return_indices=True))
        owner = labels[nearest[0], nearest[1]]
        mine = int(owner[row, column])
        areas = stats[1:, cv2.CC_STAT_AREA]
        rivals = [label for label in range(1, count) if label != mine and areas[label - 1] >= share * areas[mine - 1]]
        if rivals:
            return component & ~np.isin(owner, rivals)
    return component


def _splat(view: DepthView, onto: DepthView) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pixel indices of `onto` and depths there of all points that `view` knows and `onto` has in its picture."""
    height, width = onto.depth.shape
    ys, xs = np.nonzero(view.depth > 0)
    rays = np.stack([xs + 0.5, ys + 0.5, np.ones(len(xs))], -1) @ np.linalg.inv(view.K).T
    local = rays * view.depth[ys, xs].astype(np.float64)[:, None]
    move = np.asarray(onto.world_to_camera, np.float64) @ np.linalg.inv(view.world_to_camera)
    points = local @ move[:3, :3].T + move[:3, 3]
    points = points[points[:, 2] > 1e-6]
    flat = points @ np.asarray(onto.K, np.float64).T
    column, row = (np.floor(flat[:, i] / flat[:, 2]).astype(np.int64) for i in (0, 1))
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return (row * width + column)[inside], points[inside, 2]
