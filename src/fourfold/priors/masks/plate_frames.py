"""Where a camera that did not travel puts its images together: on the image itself if it stood, on a sphere if it turned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Maps = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Standing:
    """The plate of a camera that stood still is an image like its others, of this `shape`, height and width. Frames count its images from 0."""

    shape: tuple[int, int]

    def gather(self, frame: int, image: Image) -> Image:
        """`image` (h, w) or (h, w, C) of the camera, drawn on the plate; 0 where it does not reach. Here as it is."""
        return image

    def reached(self, frame: int) -> NDArray[np.bool_]:
        """(H, W) where the image of this frame reaches: everywhere."""
        return np.ones(self.shape, bool)

    def show(self, frame: int, plate: Image) -> Image:
        """What the camera sees of `plate` (H, W) or (H, W, C) at this frame: the plate as it is."""
        return plate


@dataclass(frozen=True)
class Turned:
    """The plate of a camera that turned about its centre: azimuth along the rows, elevation along the columns, equal steps of an angle.

    Attributes:
        shape: height and width of the plate.
        into: per frame, where the image has what each pixel of the plate shows (x and y for cv2.remap, -9 where it does not).
        out: per frame, where the plate has what each pixel of the image shows.
        size: height and width of the images.
    """

    shape: tuple[int, int]
    into: tuple[Maps, ...]
    out: tuple[Maps, ...]
    size: tuple[int, int]

    def gather(self, frame: int, image: Image) -> Image:
        """The image on the sphere."""
        return cv2.remap(image, *self.into[frame], cv2.INTER_LINEAR)

    def reached(self, frame: int) -> NDArray[np.bool_]:
        """Where the image has a whole pixel for the sphere."""
        x, y = self.into[frame]
        return (x >= 0) & (x <= self.size[1] - 1) & (y >= 0) & (y <= self.size[0] - 1)

    def show(self, frame: int, plate: Image) -> Image:
        """The sphere seen by the camera."""
        return cv2.remap(plate, *self.out[frame], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


PlateFrame = Standing | Turned
"""One picture that holds whatever all images of a camera show."""


def turned(K: NDArray[np.float64], rotation: NDArray[np.float64], size: tuple[int, int], widest: int = 1400) -> Turned:
    """The sphere for images of height and width `size` whose cameras have K (T, 3, 3) and world_to_camera rotations (T, 3, 3).

    Its middle looks where the cameras look on average, so that the poles are far. One pixel of it is one pixel of the images near their
    middle, unless the sphere would be wider than `widest` pixels.
    """
    level = _level(rotation)
    views = rotation @ level.T  # from the sphere's axes into the camera's
    height, width = size
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    pixels = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3)
    angles = [_angles(pixels @ np.linalg.inv(k).T @ view) for k, view in zip(K, views, strict=True)]
    low = np.min([a.min(0) for a in angles], axis=0)
    span = np.maximum(np.max([a.max(0) for a in angles], axis=0) - low, 1e-6)
    scale = min(float(np.median(K[:, 0, 0])), widest / span[0])
    columns, rows = (int(np.ceil(s * scale)) + 1 for s in span)
    azimuth, elevation = np.meshgrid(low[0] + np.arange(columns) / scale, low[1] + np.arange(rows) / scale)
    rays = np.stack([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], -1)
    into = tuple(_into(rays @ view.T, k) for k, view in zip(K, views, strict=True))
    out = tuple(_maps(((a - low) * scale).reshape(height, width, 2)) for a in angles)
    return Turned((rows, columns), into, out, size)


def _level(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) from the world into axes that look along the mean direction of the cameras with the mean camera's down."""
    u, _, vh = np.linalg.svd(rotation.sum(0))
    return u @ np.diag([1.0, 1.0, float(np.sign(np.linalg.det(u @ vh)))]) @ vh


def _angles(rays: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 2) azimuth and elevation (down is positive), radians, of rays (N, 3)."""
    return np.stack([np.arctan2(rays[:, 0], rays[:, 2]), np.arctan2(rays[:, 1], np.hypot(rays[:, 0], rays[:, 2]))], -1)


def _into(rays: NDArray[np.float64], K: NDArray[np.float64]) -> Maps:
    ahead = rays[..., 2:] > 0.05
    pixel = (rays / np.where(ahead, rays[..., 2:], 1.0)) @ K.T
    return _maps(np.where(ahead, pixel[..., :2] - 0.5, -9.0))  # cv2 counts pixels from their centres


def _maps(xy: NDArray[Any]) -> Maps:
    """x and y as cv2.remap takes them."""
    flat = np.ascontiguousarray(xy, np.float32)
    return np.ascontiguousarray(flat[..., 0]), np.ascontiguousarray(flat[..., 1])
