"""Which entries of 2D tracks are sure enough to anchor a 3D tracker, and where they lie in the world."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.errors import FourfoldError
from fourfold.priors.anchored_tracking.interface import Clip
from fourfold.priors.tracking.lift import depth_inside, unproject_points

SPEED = 4.0
"""Typical steps per frame beyond which a track has jumped to another surface."""


@dataclass(frozen=True)
class AnchorNumbers:
    """Numbers of the anchoring (spec himor_4dgs360.md section 5).

    Attributes:
        tau: confidence above which a 2D track anchors; None takes the rule 1 - ratio(confidence > 0.5), kept within [0.3, 0.9].
        erode: pixels by which the mask is shrunk for anchors. The release takes 5 on images of 480 pixels and no other guard; here depth
            edges are refused as well, and thin limbs should keep their anchors.
        edge: relative difference of the four depths around a point from which depth is taken as torn (released filter: 0.08).
        dilate: pixels by which the mask is grown for points that are predicted visible.
        outside: a track with more than this share of its predicted-visible frames outside the grown mask is dropped.
        visible: predicted visibility that counts as visible (as released).
        final_overwrite: anchors also replace the result of the last iteration (the paper; the release leaves it).
        gap: a pass takes a point up where the run of anchors around its query begins, and a run may miss this many frames; -1 takes it up at the
            query, as released. Early points are what tells how a thing moves before all of it was marked.
    """

    tau: float | None = 0.5
    erode: int = 1
    edge: float = 0.08
    dilate: int = 3
    outside: float = 0.5
    visible: float = 0.9
    final_overwrite: bool = True
    gap: int = 1


@dataclass(frozen=True)
class ImageTracks:
    """N tracks of one camera over T frames: xy (N, T, 2) pixels, confidence (N, T) = visibility times certainty, query_time (N,) its frame."""

    xy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    query_time: NDArray[np.intp]

    def __post_init__(self) -> None:
        if self.xy.shape != (*self.confidence.shape, 2) or self.query_time.shape != self.confidence.shape[:1]:
            raise FourfoldError(f"tracks {self.xy.shape} do not fit confidence {self.confidence.shape} and query times {self.query_time.shape}")

    def rows(self, chosen: NDArray[np.intp]) -> ImageTracks:
        """The `chosen` tracks."""
        return ImageTracks(self.xy[chosen], self.confidence[chosen], self.query_time[chosen])


@dataclass(frozen=True)
class Anchors:
    """Where N points surely are: xyz (T, N, 3) world, zero where not `strong` (T, N) bool; query_time (N,) and query_xyz (N, 3)."""

    xyz: NDArray[np.float64]
    strong: NDArray[np.bool_]
    query_time: NDArray[np.intp]
    query_xyz: NDArray[np.float64]

    def reversed(self) -> Anchors:
        """The same points backwards in time."""
        return Anchors(self.xyz[::-1], self.strong[::-1], len(self.xyz) - 1 - self.query_time, self.query_xyz)

    def taken_up(self, gap: int) -> Anchors:
        """The same points, marked where the run of strong entries that ends with their query begins; a run may miss `gap` frames.

        An entry from which the run would have to start with more than `SPEED` times the typical step of anchors is another surface.
        """
        begin, place, every = self.query_time.copy(), self.query_xyz.copy(), np.arange(len(self.query_time))
        both = self.strong[1:] & self.strong[:-1]
        steps = np.linalg.norm(self.xyz[1:] - self.xyz[:-1], axis=2)[both]
        fastest = SPEED * float(np.median(steps)) if len(steps) else np.inf
        for t in range(int(begin.max(initial=0)), -1, -1):
            near = np.linalg.norm(self.xyz[t] - place, axis=1) <= fastest * np.maximum(begin - t, 1)
            taken = self.strong[t] & (t < begin) & (begin - t <= gap + 1) & near
            begin, place = np.where(taken, t, begin), np.where(taken[:, None], self.xyz[t, every], place)
        return Anchors(self.xyz, self.strong, begin, place)


def suggested_tau(confidence: NDArray[np.floating]) -> float:
    """1 - ratio(confidence > 0.5), the paper's suggestion (supplement C), within [0.3, 0.9]."""
    return float(np.clip(1 - np.mean(confidence > 0.5), 0.3, 0.9)) if confidence.size else 0.5


def find_anchors(tracks: ImageTracks, clip: Clip, numbers: AnchorNumbers = AnchorNumbers()) -> tuple[Anchors, NDArray[np.intp]]:
    """Unproject confident tracks.

    Entries with confidence up to tau, outside the eroded mask, or where the depth is unknown or torn anchor nothing. A query is always an
    anchor; tracks whose query has no depth, or lies outside the mask, are left out.

    Returns:
        The anchors of the tracks that are kept, and the rows of `tracks` they come from.
    """
    if tracks.confidence.shape[1] != len(clip):
        raise FourfoldError(f"tracks of {tracks.confidence.shape[1]} frames do not fit a clip of {len(clip)}")
    tau = suggested_tau(tracks.confidence) if numbers.tau is None else numbers.tau
    count, times = tracks.confidence.shape
    xyz, strong = np.zeros((times, count, 3)), np.zeros((times, count), bool)
    query_xyz, usable = np.zeros((count, 3)), np.zeros(count, bool)
    for t in range(times):
        asked = (tracks.confidence[:, t] > tau) | (tracks.query_time == t)
        rows = np.flatnonzero(asked & np.isfinite(tracks.xy[:, t]).all(1))
        mask = None if clip.mask is None else clip.mask[t]
        depth = depth_inside(tracks.xy[rows, t], clip.depth[t], mask, numbers.edge)
        world = unproject_points(tracks.xy[rows, t], depth, clip.K[t], clip.world_to_camera[t])
        xyz[t, rows] = world
        inner = depth > 0 if mask is None else (depth > 0) & _inside(_grown(mask, -numbers.erode), tracks.xy[rows, t])
        queried = (tracks.query_time[rows] == t) & (depth > 0)
        strong[t, rows] = inner | queried
        query_xyz[rows[queried]], usable[rows[queried]] = world[queried], True
    kept = np.flatnonzero(usable)
    xyz = np.where(strong[..., None], xyz, 0)
    return Anchors(xyz[:, kept], strong[:, kept], tracks.query_time[kept].astype(np.intp), query_xyz[kept]), kept


def outside_mask(xyz: NDArray[np.float64], visible: NDArray[np.bool_], clip: Clip, numbers: AnchorNumbers) -> NDArray[np.bool_]:
    """(T, N) points (T, N, 3) that are predicted `visible` but project outside the grown mask or the image. Hidden points are never judged."""
    wrong = np.zeros(visible.shape, bool)
    for t in range(len(clip)):
        rows = np.flatnonzero(visible[t])
        camera = xyz[t, rows] @ clip.world_to_camera[t, :3, :3].T + clip.world_to_camera[t, :3, 3]
        pixel = camera @ clip.K[t].T
        xy = pixel[:, :2] / np.maximum(pixel[:, 2:], 1e-9)
        mask = np.ones(clip.depth.shape[1:], bool) if clip.mask is None else clip.mask[t]
        wrong[t, rows] = (camera[:, 2] <= 0) | ~_inside(_grown(mask, numbers.dilate), xy)
    return wrong


def _grown(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """The mask dilated, or eroded where `pixels` is negative, that many times by 3 x 3."""
    if pixels == 0:
        return mask
    change = cv2.dilate if pixels > 0 else cv2.erode
    return change(mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=abs(pixels)) > 0


def _inside(mask: NDArray[np.bool_], xy: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(N,) whether each of (N, 2) pixels lies on the mask."""
    height, width = mask.shape
    cell = np.floor(np.nan_to_num(xy, nan=-1.0)).clip(-1, max(height, width)).astype(int)
    ok = (cell >= 0).all(1) & (cell[:, 0] < width) & (cell[:, 1] < height)
    return ok & mask[np.clip(cell[:, 1], 0, height - 1), np.clip(cell[:, 0], 0, width - 1)]
