"""Moving points for rigs: visual hulls of the masks at every key moment, coloured and set in motion by the flow of all cameras.

Source: spec calibration.md B (dense rig) and C (few cameras).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fourfold.capture.capture import Capture
from fourfold.capture.reduced import reduce_capture
from fourfold.counting import counted
from fourfold.errors import FourfoldError
from fourfold.notices import fallback
from fourfold.priors.contracts import Clouds, Masks, Priors, Provenance
from fourfold.priors.depth.rig import stage_of
from fourfold.priors.providers import Provider
from fourfold.priors.rigs.hull import HullNumbers, Points, Silhouette, carve, silhouette, thinned, visible
from fourfold.priors.rigs.hull_repair import RepairNumbers, Stand, coverage, mended
from fourfold.priors.tracking.flow import FlowConfig, flow_between
from fourfold.threads import in_threads


@dataclass(frozen=True)
class HullCloudNumbers:
    """How clouds are made.

    Attributes:
        hull: the carving.
        voxel_pixels: side of a voxel in pixels of the image that shows the middle of the stage.
        most: points at one moment; voxels become larger where there would be more.
        every: moments between clouds, at most; longest: clouds at most, over the whole recording.
        erode: colours and flow are read only this many pixels inside the mask.
        ridge: damping of the velocity fit, as a share of what the cameras know about the point.
        neighbours: points over which the velocity's median is taken.
        least_arc: viewing directions must differ by this angle, radians; hulls of parallel views are cones.
        confident: round-trip confidence below which flow is not used.
        width: pixels; flow is found on images of at most this width.
        repair: of masks with holes.
        agreed: share of the masks that their hull must cover on average; below it, that the masks do not agree is said.
        each: the same for every single camera.
    """

    hull: HullNumbers = HullNumbers()
    voxel_pixels: float = 2.5
    most: int = 10_000
    every: int = 2
    longest: int = 60
    erode: int = 1
    ridge: float = 5e-3
    neighbours: int = 8
    least_arc: float = 0.8
    confident: float = 0.25
    width: int = 400
    repair: RepairNumbers = RepairNumbers()
    agreed: float = 0.8
    each: float = 0.7


@dataclass(frozen=True)
class View:
    """One camera at one moment: its silhouette, RGB (H, W, 3) uint8, and where colours may be read."""

    outline: Silhouette
    color: NDArray[np.uint8]
    sure: NDArray[np.bool_]


@dataclass(frozen=True)
class Cloud:
    """The points of one moment: xyz (N, 3), color (N, 3) in [0, 1], velocity (N, 3) scene units per second, the voxel's side, and the share
    of each camera's mask that the hull covers, by view."""

    xyz: Points
    color: NDArray[np.float32]
    velocity: Points
    voxel: float
    covered: dict[int, float]


def hull_clouds(capture: Capture, masks: Masks, numbers: HullCloudNumbers = HullCloudNumbers()) -> Clouds:
    """Clouds of what the masks show, at key moments of the recording.

    Raises:
        FourfoldError: the training cameras are not known or there is only one.
    """
    stage = stage_of(capture)
    if stage is None:
        raise FourfoldError(f"visual hulls of {capture.name} need two training cameras with known poses: estimate them with `fourfold prepare`")
    moments = np.flatnonzero(capture.train.sum(axis=0) >= 2)
    gap = max(numbers.every, -(-len(moments) // numbers.longest))
    keys = [int(t) for t in np.unique(np.append(moments[::gap], moments[-1:]))]
    voxel = numbers.voxel_pixels * stage.radius / float(np.median(capture.K[capture.train][:, 0, 0]))

    def at(index: int) -> Cloud | None:
        return _cloud(capture, masks, index, moments, (stage.center, stage.radius, voxel), numbers)

    made = list(counted(in_threads(at, keys), "hulls", len(keys)))
    clouds = [(t, cloud) for t, cloud in zip(keys, made, strict=True) if cloud is not None]
    if not clouds:
        return no_body(capture, "hull")
    voxels = [cloud.voxel for _, cloud in clouds]
    covered = _covered(capture, masks, dict(zip(keys, made, strict=True)))
    figures = {
        "moments": len(clouds),
        "voxel": float(np.median(voxels)),
        "points": sum(len(cloud.xyz) for _, cloud in clouds),
        "covered": {name: round(share, 3) for name, share in covered.items()},
    }
    return Clouds(
        Provenance("hull", notes=_doubts(covered, numbers), figures=figures),
        np.concatenate([cloud.xyz for _, cloud in clouds]).astype(np.float32),
        np.concatenate([np.full(len(cloud.xyz), t, np.int32) for t, cloud in clouds]),
        np.concatenate([cloud.velocity for _, cloud in clouds]).astype(np.float32),
        np.concatenate([cloud.color for _, cloud in clouds]).astype(np.float32),
        np.concatenate([np.full(len(cloud.xyz), cloud.voxel, np.float32) for _, cloud in clouds]),
    )


def no_body(capture: Capture, provider: str) -> Clouds:
    """No point at all, and why."""
    sentence = f"the masks of {capture.name} agree on no body, so nothing moves in the initial scene"
    fallback(sentence)
    none = np.zeros((0, 3), np.float32)
    return Clouds(Provenance(provider, notes=(sentence,)), none, np.zeros(0, np.int32), none, none, np.zeros(0, np.float32))


def _cloud(
    capture: Capture, masks: Masks, index: int, moments: NDArray[np.int64], place: tuple[Points, float, float], numbers: HullCloudNumbers
) -> Cloud | None:
    center, half, voxel = place
    cameras = [int(v) for v in np.flatnonzero(capture.train[:, index])]
    views = [view_of(capture, masks, (v, index), numbers.erode) for v in cameras]
    outlines = [view.outline for view in views]
    points, cells = carve(outlines, center, half, voxel, numbers.hull)
    covered = coverage(cells, outlines, voxel)
    if 3 <= len(cameras) <= numbers.repair.most and covered.min() < 1 - numbers.repair.uncovered:
        outlines = mended(outlines, Stand(center, half, voxel), numbers.hull, numbers.repair)
        views = [replace(view, outline=outline) for view, outline in zip(views, outlines, strict=True)]
        points, cells = carve(outlines, center, half, voxel, numbers.hull)
        covered = coverage(cells, outlines, voxel)
    points, voxel = thinned(points, outlines, center, half, voxel, numbers.most, numbers.hull)
    if len(points) < numbers.neighbours:
        return None
    after = moments[moments > index]
    other = int(after[0]) if len(after) else int(moments[moments < index][-1]) if (moments < index).any() else index
    seconds = float(capture.timestamps[other] - capture.timestamps[index])
    flows = [_flow(capture, v, index, other, numbers) for v in cameras]
    seen = [readable(points, view, voxel) for view in views]
    color = filled_in(median_color(len(points), views, seen), points, 0.5)
    step = filled_in(motion(points, outlines, seen, flows, numbers), points, 0.0)
    shares = dict(zip(cameras, covered.tolist(), strict=True))
    return Cloud(points, color.astype(np.float32), step / seconds if seconds else np.zeros_like(step), voxel, shares)


def _covered(capture: Capture, masks: Masks, clouds: Mapping[int, Cloud | None]) -> dict[str, float]:
    """By name of the view, the mean share of its masks that the hulls cover; nothing where masks agree on no body at all."""
    shares: dict[int, list[float]] = {}
    for index, cloud in clouds.items():
        for view in (int(v) for v in np.flatnonzero(capture.train[:, index])):
            if cloud is not None:
                shares.setdefault(view, []).append(cloud.covered[view])
            elif (masks.mask[view][index] > 0).any():
                shares.setdefault(view, []).append(0.0)
    return {capture.view_names[v]: float(np.mean(found)) for v, found in sorted(shares.items())}


def _doubts(covered: dict[str, float], numbers: HullCloudNumbers) -> tuple[str, ...]:
    """A sentence for the report where the masks do not agree on a body."""
    mean, worst = float(np.mean(list(covered.values()))), min(covered, key=lambda name: covered[name])
    if mean >= numbers.agreed and covered[worst] >= numbers.each:
        return ()
    return (
        f"What moves is doubtful: the body that all masks agree on covers {100 * mean:.0f} % of them (camera {worst}: {100 * covered[worst]:.0f} %). "
        "Probably masks miss parts of it or show what does not move, or the cameras' calibration or clocks do not agree; "
        "look at the masks, give better ones in a folder 'masks', or check the calibration and --offsets.",
    )


def view_of(capture: Capture, masks: Masks, frame: tuple[int, int], erode: int) -> View:
    """The camera of `frame` (view, time index); colours may be read `erode` pixels inside its mask."""
    state = masks.mask[frame[0]][frame[1]]
    sure = cv2.erode((state > 0).astype(np.uint8), np.ones((2 * erode + 1, 2 * erode + 1), np.uint8)) > 0
    return View(silhouette(np.asarray(state >= 0), capture.K[frame], capture.world_to_camera[frame]), np.asarray(capture.image(*frame)), sure)


def _flow(capture: Capture, view: int, index: int, other: int, numbers: HullCloudNumbers) -> NDArray[np.float32] | None:
    """(H, W, 3) flow in pixels and its confidence towards the moment `other`, or None where that image may not be used."""
    if index == other or not capture.train[view, other]:
        return None
    small = reduce_capture(capture, numbers.width)
    ahead, _, confidence, _ = flow_between(small.image(view, index), small.image(view, other), FlowConfig(restart_below=0.0))
    both = np.dstack([ahead, np.where(confidence >= numbers.confident, confidence, 0)]).astype(np.float32)
    if small is capture:
        return both
    both[..., :2] *= (capture.sizes[view] / small.sizes[view]).astype(np.float32)
    return cv2.resize(both, (int(capture.sizes[view, 0]), int(capture.sizes[view, 1])), interpolation=cv2.INTER_NEAREST)


Seen = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Numbers (M,) of the points that a camera sees well, and their pixels (M, 2), column and row."""


def readable(points: Points, view: View, voxel: float) -> Seen:
    """The surface voxels `points` whose colour the camera of `view` shows."""
    shown, where = visible(points, view.outline, voxel)
    chosen = np.flatnonzero(shown)
    chosen = chosen[view.sure[where[chosen, 1], where[chosen, 0]]]
    return chosen, where[chosen]


def median_color(count: int, views: Sequence[View], seen: Sequence[Seen]) -> NDArray[np.float32]:
    """(N, 3) median colour over the cameras that see a point, NaN where none does."""
    stack = np.full((len(views), count, 3), np.nan, np.float32)
    for number, (view, (chosen, where)) in enumerate(zip(views, seen, strict=True)):
        stack[number, chosen] = view.color[where[:, 1], where[:, 0]] / np.float32(255)
    ordered = np.sort(stack, axis=0)
    known = np.isfinite(ordered).sum(axis=0)
    low, high = np.maximum((known - 1) // 2, 0), np.minimum(known // 2, len(views) - 1)
    return ((np.take_along_axis(ordered, low[None], 0) + np.take_along_axis(ordered, high[None], 0))[0] / 2).astype(np.float32)


def motion(
    points: Points, outlines: Sequence[Silhouette], seen: Sequence[Seen], flows: Sequence[NDArray[np.float32] | None], numbers: HullCloudNumbers
) -> Points:
    """(N, 3) displacement of each point that explains the flow of all cameras that see it, NaN where none does.

    Damped least squares, weighted by the flow's confidence, once more with large residuals turned down, then the median of neighbours.

    Args:
        flows: per camera (H, W, 3) flow in pixels and confidence, or None.
    """
    rows = [
        _equations(points, outline, chosen, flow[where[:, 1], where[:, 0]])
        for outline, (chosen, where), flow in zip(outlines, seen, flows, strict=True)
        if flow is not None and len(chosen)
    ]
    if not rows:
        return np.full(points.shape, np.nan)
    index = np.concatenate([row[0] for row in rows])
    slope, shift, trust = (np.concatenate([row[k] for row in rows]) for k in (1, 2, 3))
    step = _solve(len(points), index, slope, shift, trust, numbers.ridge)
    miss = np.linalg.norm(np.einsum("mij,mj->mi", slope, np.nan_to_num(step)[index]) - shift, axis=1)
    scale = max(float(np.median(miss)), 0.25)
    step = _solve(len(points), index, slope, shift, trust / (1 + (miss / scale) ** 2), numbers.ridge)
    known = np.isfinite(step[:, 0])
    if known.sum() <= numbers.neighbours:
        return step
    _, near = cKDTree(points[known]).query(points[known], k=numbers.neighbours)
    step[known] = np.median(step[known][near], axis=1)
    return step


def _equations(
    points: Points, outline: Silhouette, chosen: NDArray[np.int64], flow: NDArray[np.float32]
) -> tuple[NDArray[np.int64], Points, Points, NDArray[np.float64]]:
    """Numbers of the points, d pixel / d point (M, 2, 3), flow (M, 2) and weight (M,) of one camera."""
    K, pose = outline.K, outline.world_to_camera
    local = points[chosen] @ pose[:3, :3].T + pose[:3, 3]
    depth = local[:, 2]
    slope = np.zeros((len(chosen), 2, 3))
    slope[:, 0, 0], slope[:, 1, 1] = K[0, 0] / depth, K[1, 1] / depth
    slope[:, 0, 2], slope[:, 1, 2] = -K[0, 0] * local[:, 0] / depth**2, -K[1, 1] * local[:, 1] / depth**2
    return chosen, slope @ pose[:3, :3], flow[:, :2].astype(np.float64), flow[:, 2].astype(np.float64)


def _solve(count: int, index: NDArray[np.int64], slope: Points, shift: Points, trust: NDArray[np.float64], ridge: float) -> Points:
    normal, right = np.zeros((count, 3, 3)), np.zeros((count, 3))
    np.add.at(normal, index, np.einsum("mij,mik,m->mjk", slope, slope, trust))
    np.add.at(right, index, np.einsum("mij,mi,m->mj", slope, shift, trust))
    known = np.trace(normal, axis1=1, axis2=2)
    step = np.full((count, 3), np.nan)
    use = known > 1e-12
    damped = normal[use] + (ridge * known[use])[:, None, None] * np.eye(3)
    step[use] = np.linalg.solve(damped, right[use][..., None])[..., 0]
    return step


def filled_in(values: NDArray[np.floating], points: Points, otherwise: float) -> NDArray[np.floating]:
    """`values` (N, 3) with NaN rows taken from the nearest point that has one."""
    known = np.isfinite(values).all(axis=1)
    if not known.any():
        return np.full_like(values, otherwise)
    if not known.all():
        _, nearest = cKDTree(points[known]).query(points[~known])
        values[~known] = values[known][nearest]
    return values


def _missing(capture: Capture) -> str | None:
    stage = stage_of(capture)
    if stage is None or stage.views < 3:
        return "visual hulls need at least three training cameras with known poses"
    if stage.arc < HullCloudNumbers().least_arc:
        return "all cameras look the same way, so hulls would be cones"
    if all(capture.has("depth", int(v)) for v in np.flatnonzero(capture.train.any(axis=1))):
        return "the capture brings depth, which says more than a hull"
    return None


def _make(capture: Capture, priors: Priors) -> list[Clouds]:
    return [hull_clouds(capture, priors.require(Masks))]


PROVIDERS = (Provider("hull", ("clouds",), ("masks", "cameras"), 20, _missing, _make),)
