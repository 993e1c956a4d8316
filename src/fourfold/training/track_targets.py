"""Track supervision of a sample: which pixels of this image are where at other times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.geometry.camera import Camera
from fourfold.geometry.host import sent
from fourfold.losses.base import Sample, TrackTargets
from fourfold.priors.contracts import Priors

MOST_POINTS = 2048
"""Tracks of one image beyond this number are subsampled."""
VISIBLE = 0.5
"""Visibility (and mask share) above which a track counts as seen."""


@dataclass(frozen=True)
class _Found:
    """Tracks of one view, a moment's values side by side, as they are read: xy (T, P, 2), depth (T, P) with 0 unknown, visible and weight (T, P)."""

    xy: NDArray[np.float32]
    depth: NDArray[np.float32]
    visible: NDArray[np.bool_]
    weight: NDArray[np.float32]


class TrackIndex:
    """Looks up track targets. 2D tracks are preferred, with depth from the depth prior; else 3D tracks are projected."""

    def __init__(self, capture: Capture, priors: Priors) -> None:
        self._capture, self._priors = capture, priors
        self._views: dict[int, _Found | None] = {}

    def targets(self, sample: Sample, count: int, random: np.random.Generator) -> TrackTargets | None:
        """Targets of the tracks visible in `sample`, on moving objects if masks are known, at up to `count` random other training times.

        None if no track is visible there.
        """
        found = self._found(sample.view)
        times = np.flatnonzero(self._capture.train[sample.view] & (np.arange(self._capture.times) != sample.index))
        if found is None or not len(times):
            return None
        here = found.xy[sample.index]
        rows = np.flatnonzero(found.visible[sample.index])
        rows = rows[self._moving(sample, here[rows])]
        if not len(rows):
            return None
        rows = np.sort(random.choice(rows, MOST_POINTS, replace=False)) if len(rows) > MOST_POINTS else rows
        times = np.sort(random.choice(times, min(count, len(times)), replace=False))
        factor = sample.camera.width / float(self._capture.sizes[sample.view, 0])
        pick = np.ix_(times, rows)
        device = sample.image.device

        def put(array: NDArray[np.floating]) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)

        return TrackTargets(
            pixels=put(here[rows] * factor),
            times=sent(torch.from_numpy(self._capture.timestamps[times].astype(np.float32)), device),
            cameras=tuple(self._camera(sample.view, int(t), sample.camera) for t in times),
            xy=put(found.xy[pick].swapaxes(0, 1) * factor),
            depth=put(found.depth[pick].T),
            visible=put(found.visible[pick].T),
            weight=put(found.weight[pick].T),
        )

    def _camera(self, view: int, index: int, like: Camera) -> Camera:
        camera = self._capture.camera_at(view, index).scaled(like.width / float(self._capture.sizes[view, 0]))
        return Camera(camera.K, camera.world_to_camera, like.width, like.height, like.near).to(like.K.device)

    def _moving(self, sample: Sample, xy: NDArray[np.float32]) -> NDArray[np.bool_]:
        if self._priors.masks is None:
            return np.ones(len(xy), bool)
        return _read(self._priors.masks.mask[sample.view][sample.index], xy) > VISIBLE

    def _found(self, view: int) -> _Found | None:
        if view not in self._views:
            self._views[view] = self._from_2d(view) if self._priors.tracks2d is not None else self._from_3d(view)
        return self._views[view]

    def _from_2d(self, view: int) -> _Found | None:
        tracks = self._priors.tracks2d
        if tracks is None or not (tracks.view == view).any():
            return None
        mine = tracks.view == view
        xy, visible = _by_moment(tracks.xy[mine]), _by_moment(tracks.visibility[mine]) > VISIBLE
        depth = np.zeros(visible.shape, np.float32)
        if self._priors.depth is not None:
            for t in range(len(depth)):
                depth[t] = _read(self._priors.depth.depth[view][t], xy[t])
        return _Found(xy, np.where(visible, depth, 0), visible, _by_moment(tracks.confidence[mine]))

    def _from_3d(self, view: int) -> _Found | None:
        tracks = self._priors.tracks3d
        if tracks is None or self._capture.views > 1:
            return None  # visibility of a 3D track is not told per view
        K, pose = self._capture.K[view], self._capture.world_to_camera[view]
        points = np.einsum("tij,ptj->tpi", pose[:, :3, :3], tracks.xyz) + pose[:, None, :3, 3]
        image = np.einsum("tij,tpj->tpi", K, points)
        width, height = self._capture.sizes[view]
        xy = (image[..., :2] / np.maximum(image[..., 2:], 1e-9)).astype(np.float32)
        inside = (points[..., 2] > 0) & (xy >= 0).all(-1) & (xy[..., 0] < width) & (xy[..., 1] < height)
        visible = (_by_moment(tracks.visibility) > VISIBLE) & inside
        return _Found(np.nan_to_num(xy), np.where(visible, points[..., 2], 0).astype(np.float32), visible, _by_moment(tracks.confidence))


def _by_moment(values: NDArray[np.generic]) -> NDArray[np.float32]:
    """(P, T, ...) as (T, P, ...), in float32."""
    return np.ascontiguousarray(values.swapaxes(0, 1), np.float32)


def _read(image: NDArray[np.generic], xy: NDArray[np.float32]) -> NDArray[np.float32]:
    """The pixel of `image` (H, W) that holds each position `xy` (P, 2), pixel centres at +0.5; 0 outside."""
    height, width = image.shape
    column, row = np.floor(np.nan_to_num(xy, nan=-1.0)).astype(np.int64).T
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    return np.where(inside, image[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)], 0).astype(np.float32)
