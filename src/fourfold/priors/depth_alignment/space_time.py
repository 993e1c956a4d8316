"""Depth of several cameras that agrees over time and between them: its two sources put together (spec monofusion.md section 2)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.notices import fallback
from fourfold.priors.contracts import Cameras, Depth, Flow, Masks, PointMaps, Provenance
from fourfold.priors.depth.enclosed_depth import enclosed_depth
from fourfold.priors.depth.plane_sweep import static_depth
from fourfold.priors.depth.rig import Stage, stage_of
from fourfold.priors.depth_alignment.hull_depth import HullDepthNumbers, with_movers
from fourfold.priors.depth_alignment.scales import AlignmentNumbers, align_depth
from fourfold.priors.depth_alignment.steady import SteadyNumbers, steady_depth
from fourfold.priors.depth_alignment.surround import SurroundNumbers, fit_room, upward
from fourfold.priors.rigs.hull import Points, carve, silhouette


@dataclass(frozen=True)
class SpaceTimeNumbers:
    """How the sources are made.

    Attributes:
        apart: cameras whose nearest neighbour looks in a direction that differs by more than this have nothing to match, radians.
        wall_confidence: confidence given to floor and walls of a fitted room.
    """

    apart: float = 0.9
    wall_confidence: float = 0.5
    surround: SurroundNumbers = field(default_factory=SurroundNumbers)
    hull: HullDepthNumbers = field(default_factory=HullDepthNumbers)
    steady: SteadyNumbers = field(default_factory=SteadyNumbers)
    alignment: AlignmentNumbers = field(default_factory=AlignmentNumbers)


def space_time_depth(capture: Capture, masks: Masks, cameras: Cameras | None, flow: Flow, numbers: SpaceTimeNumbers = SpaceTimeNumbers()) -> Depth:
    """The classical sources, aligned. FourfoldError if fewer than two training cameras are known."""
    agreed = view_consistent_depth(capture, masks, cameras, numbers)
    steady = steady_depth(capture, agreed, flow, numbers.steady)
    return align_depth(capture, steady, agreed, numbers.alignment)[0]


def each_camera_alone(capture: Capture, masks: Masks, cameras: Cameras | None, flow: Flow, numbers: SpaceTimeNumbers = SpaceTimeNumbers()) -> Depth:
    """The source that agrees over time, brought to scene units without looking at the others: each camera takes the median of its depth for
    its distance to the middle of the stage. For comparison: what is missing is the alignment."""
    steady = steady_depth(capture, view_consistent_depth(capture, masks, cameras, numbers), flow, numbers.steady)
    stage = stage_of(capture)
    depth = list(steady.depth)
    for view in np.flatnonzero(capture.train.any(axis=1)):
        pose = capture.world_to_camera[view, np.flatnonzero(capture.train[view])[0]]
        depth[view] = depth[view] * np.float32(np.linalg.norm(pose[:3, :3] @ stage.center + pose[:3, 3]))  # type: ignore[union-attr]
    return Depth(Provenance("time_consistent", steady.provenance.needs_weights), tuple(depth), steady.confidence)


def depth_from_pointmaps(
    capture: Capture, maps: PointMaps, masks: Masks, cameras: Cameras | None, flow: Flow, numbers: SpaceTimeNumbers = SpaceTimeNumbers()
) -> Depth:
    """Depth from point maps of a network: those of one camera's video (scale "relative") are aligned to the classical estimate between the
    cameras; those in scene units agree between the cameras, and one camera's neighbouring frames vote on them."""
    depth = tuple(np.nan_to_num(np.asarray(xyz[..., 2], np.float32)).clip(0) for xyz in maps.xyz)
    own = Depth(maps.provenance, depth, maps.confidence)
    if maps.provenance.figures.get("scale") == "scene":
        return align_depth(capture, steady_depth(capture, own, flow, numbers.steady), own, numbers.alignment)[0]
    return align_depth(capture, own, view_consistent_depth(capture, masks, cameras, numbers), numbers.alignment)[0]


def view_consistent_depth(capture: Capture, masks: Masks, cameras: Cameras | None, numbers: SpaceTimeNumbers = SpaceTimeNumbers()) -> Depth:
    """What the cameras agree on at each moment: static surroundings, and hulls of what moves.

    Raises:
        FourfoldError: fewer than two training cameras are known.
    """
    stage = stage_of(capture)
    if stage is None:
        raise FourfoldError(
            f"depth that agrees between the cameras of {capture.name} needs two with known poses: estimate them with `fourfold prepare`"
        )
    if nearest_angle(capture) > numbers.apart:
        background = surround_depth(capture, masks, stage, numbers)
    elif stage.views >= 4 and stage.arc > 1.6:
        background = enclosed_depth(capture, masks, cameras)
    else:
        background = static_depth(capture, masks, cameras)
    return with_movers(capture, masks, background, stage, numbers.hull)


def surround_depth(capture: Capture, masks: Masks, stage: Stage, numbers: SpaceTimeNumbers = SpaceTimeNumbers()) -> Depth:
    """The depth of a fitted room in every training frame; `provenance.figures` tells which room and how well the images agree on it."""
    room, score = fit_room(capture, masks, stage, feet_height(capture, masks, stage), numbers.surround)
    depth, sure = [], []
    for view in range(capture.views):
        width, height = (int(n) for n in capture.sizes[view])
        stack = np.zeros((capture.times, height, width), np.float32)
        drawn: dict[bytes, np.ndarray] = {}
        for t in np.flatnonzero(capture.train[view]):
            K, pose = capture.K[view, t], capture.world_to_camera[view, t]
            key = np.concatenate([K.ravel(), pose.ravel()]).round(6).tobytes()
            if key not in drawn:
                drawn = {key: room.depth(K, pose, height, width)}
            stack[t] = drawn[key]
        depth.append(stack)
        sure.append((stack > 0).astype(np.float16) * np.float16(numbers.wall_confidence))
    figures = {"room": room.walls, "room_size": [round(s, 3) for s in room.size], "agreement": round(score, 3)}
    return Depth(Provenance("surround", figures=figures), tuple(depth), tuple(sure))


def feet_height(capture: Capture, masks: Masks, stage: Stage, moments: int = 5) -> float | None:
    """Height above the stage's centre of the lowest part of what moves, the median over moments; None where masks agree on no body."""
    up = upward([capture.world_to_camera[v, np.flatnonzero(capture.train[v])[0]] for v in np.flatnonzero(capture.train.any(axis=1))])
    found: list[float] = []
    times = np.flatnonzero(capture.train.sum(axis=0) >= 2)
    for t in times[np.unique(np.linspace(0, len(times) - 1, min(moments, len(times))).round().astype(int))]:
        surface = _hull_at(capture, masks, stage, int(t))
        if len(surface) > 20:
            found.append(float(np.quantile((surface - stage.center) @ up, 0.02)))
    if not found:
        fallback(f"the masks of {capture.name} agree on no body: where the floor lies is guessed")
        return None
    return float(np.median(found))


def nearest_angle(capture: Capture) -> float:
    """The largest angle, over training cameras, to the viewing direction of the nearest other one, radians."""
    views = np.flatnonzero(capture.train.any(axis=1))
    axes = np.stack([capture.world_to_camera[v, np.flatnonzero(capture.train[v])[0], 2, :3] for v in views])
    cosine = axes @ axes.T - 3 * np.eye(len(axes))
    return float(np.arccos(np.clip(cosine.max(axis=1), -1, 1)).max()) if len(views) > 1 else 0.0


def _hull_at(capture: Capture, masks: Masks, stage: Stage, index: int) -> Points:
    views = np.flatnonzero(capture.train[:, index])
    outlines = [silhouette(np.asarray(masks.mask[v][index] >= 0), capture.K[v, index], capture.world_to_camera[v, index]) for v in views]
    return carve(outlines, stage.center, stage.radius, stage.radius / 100)[0]
