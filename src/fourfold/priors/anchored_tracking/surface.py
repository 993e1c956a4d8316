"""What the depth images of a window say about points: seen, hidden, or impossible."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from fourfold.priors.anchored_tracking.interface import Clip
from fourfold.priors.tracking.lift import depth_inside

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

SLACK, SOFT = 0.03, 0.01
"""A point this share of its depth behind the surface counts as half seen, and how softly (spec himor_4dgs360.md section 5.1)."""
LEAST_COSINE, SOFT_COSINE = 0.1, 0.05
"""A point whose normal meets the direction to the camera at this cosine counts as half seen, and how softly: a limb is thinner than the slack."""
EDGE = 0.08
"""Relative difference of neighbouring depths from which depth is taken as torn."""


def project(xyz: Array, K: Array, world_to_camera: Array) -> tuple[Array, Array]:
    """Pixels (M, 2) and depths (M,) of world points (M, 3) by cameras (M, 3, 3) and (M, 4, 4), or one for all."""
    camera = np.einsum("...ij,...j->...i", world_to_camera[..., :3, :3], xyz) + world_to_camera[..., :3, 3]
    image = np.einsum("...ij,...j->...i", K, camera)
    return image[..., :2] / np.where(np.abs(image[..., 2:]) < 1e-9, 1e-9, image[..., 2:]), camera[..., 2]


def normals_at(clip: Clip, frame: int, xyz: Array, reach: int = 2) -> Array:
    """(N, 3) unit normals, towards the camera, of the surface that is seen at world points (N, 3) in `frame`; the ray itself where depth is torn."""
    K, pose = clip.K[frame], clip.world_to_camera[frame]
    xy, z = project(xyz, K, pose)
    mask = None if clip.mask is None else clip.mask[frame]
    rays, ends = np.linalg.inv(K), []
    for step in ((reach, 0), (-reach, 0), (0, reach), (0, -reach)):
        near = xy + np.array(step)
        depth = depth_inside(near, clip.depth[frame], mask, EDGE)
        depth = np.where((depth > 0) & (np.abs(depth - z) < EDGE * z), depth, np.nan)
        ends.append(np.concatenate([near, np.ones((len(near), 1))], 1) @ rays.T * depth[:, None])
    middle = np.concatenate([xy, np.ones((len(xy), 1))], 1) @ rays.T * z[:, None]
    along = [np.where(np.isfinite(a - b), a - b, np.where(np.isfinite(a), a - middle, middle - b)) for a, b in (ends[:2], ends[2:])]
    normal = np.cross(along[1], along[0])
    normal = np.where(np.isfinite(normal).all(1, keepdims=True), normal, -middle)
    normal *= np.where((normal * middle).sum(1, keepdims=True) > 0, -1, 1)
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12) @ pose[:3, :3]


class Surface:
    """Depth and masks of the frames (W,) of one window."""

    def __init__(self, clip: Clip, frames: NDArray[np.intp]) -> None:
        self._clip, self._frames = clip, frames
        self._nearest: dict[int, NDArray[np.intp]] = {}

    def visibility_at(self, xyz: Array, t: int) -> Array:
        """(N,) how surely points (N, 3) are seen at frame `t` of the window: by depth, inside the image and the mask."""
        pixel, z, surface = self._behind(xyz, t)
        ratio = (SLACK * surface - (z - surface)) / np.maximum(SOFT * surface, 1e-9)
        seen = 1 / (1 + np.exp(-np.clip(ratio, -50, 50)))
        mask = self._clip.mask
        inside = surface > 0 if mask is None else (surface > 0) & mask[self._frames[t], pixel[:, 1], pixel[:, 0]]
        return np.where(inside & (z > 0), seen, 0)

    def facing(self, xyz: Array, normal: Array, t: int) -> Array:
        """(N,) how surely points (N, 3) with outward normals (N, 3) look at the camera of frame `t` of the window."""
        pose = self._clip.world_to_camera[int(self._frames[t])]
        towards = -pose[:3, :3].T @ pose[:3, 3] - xyz
        cosine = (towards * normal).sum(1) / np.maximum(np.linalg.norm(towards, axis=1) * np.linalg.norm(normal, axis=1), 1e-12)
        return 1 / (1 + np.exp(-(cosine - LEAST_COSINE) / SOFT_COSINE))

    def lift(self, xy: Array, t: NDArray[np.intp]) -> tuple[Array, Flags]:
        """World points (M, 3) of pixels (M, 2) at frames `t` (M,) of the window, and where the depth there may be trusted."""
        world, good = np.zeros((len(xy), 3)), np.zeros(len(xy), bool)
        for frame in np.unique(t):
            mine, number = np.flatnonzero(t == frame), self._frames[frame]
            mask = None if self._clip.mask is None else self._clip.mask[number]
            depth = depth_inside(xy[mine], self._clip.depth[number], mask, EDGE)
            rays = np.concatenate([xy[mine], np.ones((len(mine), 1))], 1) @ np.linalg.inv(self._clip.K[number]).T
            pose = self._clip.world_to_camera[number]
            world[mine] = (rays * depth[:, None] - pose[:3, 3]) @ pose[:3, :3]
            good[mine] = depth > 0
        return world, good

    def hidden_hint(self, xyz: Array) -> tuple[Array, Flags]:
        """Where impossible points (W, N, 3) should rather be, and which are impossible.

        A point in front of the surface would be seen: it is moved back along its ray to the surface. One beside the silhouette, in front
        of what is seen there, is moved to the nearest pixel of the mask at its own depth.
        """
        result, wrong = xyz.copy(), np.zeros(xyz.shape[:2], bool)
        for t, points in enumerate(xyz):
            number = int(self._frames[t])
            pixel, z, surface = self._behind(points, t)
            front = (surface > 0) & (z > 0) & (z < (1 - SLACK) * surface)
            mask, camera = self._clip.mask, self._clip.world_to_camera[number]
            beside = np.zeros(len(points), bool) if mask is None else front & ~mask[number, pixel[:, 1], pixel[:, 0]]
            own = points @ camera[:3, :3].T + camera[:3, 3]
            moved = own * np.where(front, surface / np.maximum(z, 1e-9), 1)[:, None]
            if beside.any() and mask is not None and mask[number].any():
                row, column = self._nearest_in_mask(number)[:, pixel[beside, 1], pixel[beside, 0]]
                homogeneous = np.stack([column + 0.5, row + 0.5, np.ones(len(row))], 1)
                moved[beside] = homogeneous @ np.linalg.inv(self._clip.K[number]).T * z[beside, None]
            else:
                front &= ~beside
            result[t, front] = (moved[front] - camera[:3, 3]) @ camera[:3, :3]
            wrong[t] = front
        return result, wrong

    def _nearest_in_mask(self, number: int) -> NDArray[np.intp]:
        """(2, H, W) row and column of the mask's pixel nearest to each pixel."""
        if number not in self._nearest and self._clip.mask is not None:
            self._nearest[number] = distance_transform_edt(~self._clip.mask[number], return_distances=False, return_indices=True)  # pyright: ignore[reportArgumentType]
        return self._nearest[number]

    def _behind(self, xyz: Array, t: int) -> tuple[NDArray[np.intp], Array, Array]:
        """Pixel (N, 2) as column and row, depth of the points (N,), and of the surface there (N,), 0 outside the image."""
        number = int(self._frames[t])
        height, width = self._clip.depth.shape[1:]
        xy, z = project(xyz, self._clip.K[number], self._clip.world_to_camera[number])
        cell = np.floor(np.clip(np.nan_to_num(xy, nan=-1.0), -1, max(height, width))).astype(np.intp)
        inside = (cell >= 0).all(1) & (cell[:, 0] < width) & (cell[:, 1] < height)
        cell = np.clip(cell, 0, [width - 1, height - 1])
        return cell, z, np.where(inside, self._clip.depth[number][cell[:, 1], cell[:, 0]].astype(np.float64), 0)
