"""Moving points and depth of an object alone before one camera that jumps around it: hulls of neighbouring moments' opacity.

One image per moment cuts nothing out. But the camera sees the object from all around within a few moments, in which most of it has
hardly moved: those moments' masks share a hull, and a cell may be outside a share of them, so that what moves is not cut away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.cutout import object_alone
from fourfold.counting import counted
from fourfold.errors import FourfoldError
from fourfold.priors.contracts import Clouds, Depth, Masks, Priors, Provenance
from fourfold.priors.depth.rig import Stage, around
from fourfold.priors.depth.sweep_views import usable_frames
from fourfold.priors.depth_range import near_far
from fourfold.priors.providers import Provider
from fourfold.priors.rigs.hull import HullNumbers, Points, carve, front, thinned
from fourfold.priors.rigs.hull_clouds import filled_in, median_color, no_body, readable, view_of
from fourfold.threads import in_threads

Frame = tuple[int, int]


@dataclass(frozen=True)
class SharedHullNumbers:
    """How shared hulls are made.

    Attributes:
        hull: the carving; its `miss_share` is what may move within one hull.
        keys: hulls over the whole recording, at most.
        frames: images that share a hull, at least; neighbours share half of them.
        voxel_pixels: side of a voxel in pixels of the image that shows the middle of the stage.
        most: points of one hull; voxels become larger where there would be more.
        erode: colours are read only this many pixels inside the mask.
        least_arc: viewing directions must differ by this angle, radians; fewest: images below which no hull is made.
        confident: of a pixel whose ray meets its moment's hull.
    """

    hull: HullNumbers = HullNumbers(seen_share=0.5, miss_share=0.12)
    keys: int = 10
    frames: int = 24
    voxel_pixels: float = 1.5
    most: int = 16_000
    erode: int = 1
    least_arc: float = 0.8
    fewest: int = 8
    confident: float = 0.4


@dataclass(frozen=True)
class SharedHull:
    """The surface of one hull: key moment, xyz (N, 3), RGB color (N, 3) in [0, 1], and the voxel's side."""

    moment: int
    xyz: Points
    color: NDArray[np.float32]
    voxel: float


def shared_hulls(capture: Capture, masks: Masks, numbers: SharedHullNumbers = SharedHullNumbers()) -> list[SharedHull]:
    """Hulls at key moments, by time; those that the masks agree on.

    Raises:
        FourfoldError: fewer than two images with a known camera.
    """
    frames = usable_frames(capture)
    stage = around(capture, frames)
    if stage is None:
        raise FourfoldError(f"hulls of {capture.name} need two training images with known cameras: estimate them with `fourfold prepare`")
    window = min(len(frames), max(numbers.frames, -(-2 * len(frames) // numbers.keys)))
    count = min(numbers.keys, max(1, 2 * len(frames) // window))
    middles = np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int)) if count > 1 else np.array([len(frames) // 2])

    def at(middle: int) -> SharedHull | None:
        first = int(np.clip(middle - window // 2, 0, len(frames) - window))
        return _hull(capture, masks, frames[middle][1], frames[first : first + window], stage, numbers)

    return [hull for hull in counted(in_threads(at, (int(m) for m in middles)), "hulls", len(middles)) if hull is not None]


def _hull(capture: Capture, masks: Masks, moment: int, frames: Sequence[Frame], stage: Stage, numbers: SharedHullNumbers) -> SharedHull | None:
    views = [view_of(capture, masks, frame, numbers.erode) for frame in frames]
    outlines = [view.outline for view in views]
    voxel = numbers.voxel_pixels * stage.radius / float(np.median(capture.K[capture.train][:, 0, 0]))
    half = stage.radius * 0.75
    points, _ = carve(outlines, stage.center, half, voxel, numbers.hull)
    points, voxel = thinned(points, outlines, stage.center, half, voxel, numbers.most, numbers.hull)
    if len(points) < numbers.fewest:
        return None
    color = filled_in(median_color(len(points), views, [readable(points, view, voxel) for view in views]), points, 0.5)
    return SharedHull(moment, points, color.astype(np.float32), voxel)


def clouds_of(capture: Capture, hulls: Sequence[SharedHull]) -> Clouds:
    """The hulls as clouds that stand still: how a point moves is left to the optimisation."""
    if not hulls:
        return no_body(capture, "shared_hulls")
    xyz = np.concatenate([hull.xyz for hull in hulls]).astype(np.float32)
    figures = {"moments": len(hulls), "voxel": float(np.median([hull.voxel for hull in hulls])), "points": len(xyz)}
    return Clouds(
        Provenance("shared_hulls", figures=figures),
        xyz,
        np.concatenate([np.full(len(hull.xyz), hull.moment, np.int32) for hull in hulls]),
        np.zeros_like(xyz),
        np.concatenate([hull.color for hull in hulls]),
        np.concatenate([np.full(len(hull.xyz), hull.voxel, np.float32) for hull in hulls]),
    )


def depth_of(capture: Capture, masks: Masks, hulls: Sequence[SharedHull], numbers: SharedHullNumbers = SharedHullNumbers()) -> Depth:
    """Depth of the object's pixels in the training images, from the hull nearest in time; 0 (unknown) elsewhere."""
    sizes = [(capture.times, int(height), int(width)) for width, height in capture.sizes]
    depth, confidence = tuple(np.zeros(s, np.float32) for s in sizes), tuple(np.zeros(s, np.float16) for s in sizes)
    moments = np.array([hull.moment for hull in hulls])
    for view, index in usable_frames(capture) if len(hulls) else []:
        hull = hulls[int(np.abs(moments - index).argmin())]
        shown, _, _ = front(hull.xyz, capture.K[view, index], capture.world_to_camera[view, index], sizes[view][1:], hull.voxel)
        known = masks.moving(view, index) & np.isfinite(shown)
        depth[view][index][known] = shown[known]
        confidence[view][index][known] = numbers.confident
    near, far = near_far(Depth(Provenance("shared_hulls"), depth, confidence))
    return Depth(Provenance("shared_hulls", figures={"near": near, "far": far}), depth, confidence)


def _missing(capture: Capture) -> str | None:
    frames = usable_frames(capture)
    if not object_alone(capture) or len({view for view, _ in frames}) != 1 or len(frames) < SharedHullNumbers().fewest:
        return ""
    stage = around(capture, frames)
    if stage is None or stage.arc < SharedHullNumbers().least_arc or capture.has("depth", frames[0][0]):
        return ""
    return None


def _make(capture: Capture, priors: Priors) -> list[Depth | Clouds]:
    masks = priors.require(Masks)
    hulls = shared_hulls(capture, masks)
    return [depth_of(capture, masks, hulls), clouds_of(capture, hulls)]


PROVIDERS = (Provider("shared_hulls", ("depth", "clouds"), ("masks", "cameras"), 45, _missing, _make),)
