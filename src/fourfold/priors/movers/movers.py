"""Depth and 3D tracks of moving objects in a single moving camera: models in object units, scale against the static world, points in it.

Source: spec calibration.md sections A and E; consumers: spec shape_of_motion.md sections 2-4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.counting import counted
from fourfold.notices import fallback
from fourfold.priors.cameras.pose_path import fill_path, fill_poses
from fourfold.priors.contracts import Depth, LongTracks, Masks, Priors, Provenance, Tracks2D, Tracks3D
from fourfold.priors.depth.plane_sweep import static_depth
from fourfold.priors.depth.sweep_views import usable_frames
from fourfold.priors.movers.body_path import SteadyNumbers, steady_factors
from fourfold.priors.movers.loose_parts import loose_points, loose_tracks
from fourfold.priors.movers.mover_models import ImageTracks, ModelConfig, Mover, MoverModel, model_mover, seen_tracks
from fourfold.priors.movers.mover_regions import RegionConfig, movers_of
from fourfold.priors.movers.near_movers import near_depths
from fourfold.priors.movers.object_evidence import ground_ratio, hidden_depth, occlusion_bound
from fourfold.priors.movers.object_scale import ScaleChoice, ScaleConfig, ScaleEvidence, choose_scale
from fourfold.priors.movers.touching_movers import TouchingNumbers, split_touching
from fourfold.priors.providers import Provider
from fourfold.priors.tracking.lift import LiftConfig, empty_tracks, fill_between, joined_tracks, lift_tracks, solid_tracks, unproject_points
from fourfold.priors.tracking.track_step import sample

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MoverConfig:
    """Numbers of the movers.

    Attributes:
        regions, touching, model, scale, steady, lift: the parts.
        hidden_from: other frames asked for what an object hides.
        mask_confidence: confidence of the depth inside masks per kind of model.
        loose_error: median distance from the rigid body beyond which a track is a part moving on its own, share of the image's diagonal.
        loose_share: share of the dense points among such tracks below which they are taken for noise.
        depth_slack: a rigid point counts as visible up to this much behind the object's own surface, relative.
        before: where nothing tells the depth of the static world or the scale, the farthest a mover gets is this share of what it hides.
        near: share of the pixels around one, in the image and in time, that must be movers' for it to take their depth.
    """

    regions: RegionConfig = field(default_factory=RegionConfig)
    touching: TouchingNumbers = field(default_factory=TouchingNumbers)
    model: ModelConfig = field(default_factory=ModelConfig)
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    steady: SteadyNumbers = field(default_factory=SteadyNumbers)
    lift: LiftConfig = field(default_factory=LiftConfig)
    hidden_from: int = 4
    mask_confidence: dict[str, float] = field(default_factory=lambda: {"rigid": 0.8, "articulated": 0.5, "flat": 0.3})
    loose_error: float = 0.006
    loose_share: float = 0.1
    depth_slack: float = 0.03
    before: float = 0.8
    near: float = 0.02


PROVENANCE = Provenance("movers")


def moving_objects(
    capture: Capture, masks: Masks, tracks2d: Tracks2D, longtracks: LongTracks, static: Depth, config: MoverConfig = MoverConfig()
) -> tuple[Depth, Tracks3D]:
    """Depth with the moving objects in it, and their 3D tracks.

    Every large mover of a single view becomes, in this order, a rigid object solved on its own (structure from motion and plane sweep in
    its frame), an articulated one whose tracks are lifted with its rough shape, or a flat one lifted with its direction and apparent size.
    Its scale against the static world is chosen among rivals; all are in `provenance.figures`. What is left of the masks is lifted with the
    depth of its surroundings. With depth from the capture, or several views, tracks are only lifted with the depth at hand.

    Args:
        capture: with cameras.
        tracks2d, longtracks: many that cover what moves, and those that hold to what they began on, from which bodies are solved.
        static: depth of the static world (`static_depth`), filled inside the masks.

    Returns:
        Depth with the objects inside the masks, and `Tracks3D` (empty if nothing moves).
    """
    frames = usable_frames(capture)
    if len({v for v, _ in frames}) != 1 or static.provenance.provider == "given":
        return static, lift_tracks(tracks2d, static, masks, capture, config.lift)
    view, times = frames[0][0], [t for _, t in frames]
    moving = _moving_masks(masks, view, times)
    nominal = static.provenance.provider == "nominal"
    if nominal:
        static = _movers_before(static, view, times, moving, config.before)
    regions = movers_of(moving, config.regions) if len(times) >= 3 else []
    regions = split_touching(moving, regions, *seen_tracks(tracks2d, view, times), config.touching)
    depth, confidence = static.depth[view].astype(np.float32), static.confidence[view].astype(np.float32)
    owned = np.zeros(depth.shape, bool)
    parts: list[Tracks3D] = []
    notes: list[str] = []
    figures: dict[str, object] = {}
    for index, region in enumerate(counted(regions, "what moves")):
        mover = Mover(view, times, region, capture.K[view, times], capture.world_to_camera[view, times])
        model, choice = _model_with_scale(capture, mover, (tracks2d, longtracks), static, config)
        scales = choice.scale * steady_factors(mover, model, choice.scale, capture.timestamps[times], config.steady)
        notes += _sentences(index, model, choice, config)
        part, more = _tracks_of_model(capture, mover, model, scales, config)
        parts.append(part)
        steadied = round(float(np.std(scales) / choice.scale), 4)
        figures[f"mover_{index}"] = {"kind": model.kind, **model.figures, **more, "steadied": steadied, "scale": choice.figures()}
        shown = model.depth > 0
        stamp = np.zeros_like(depth)
        stamp[times] = np.where(shown, model.depth * scales[:, None, None], 0)
        depth = np.where(stamp > 0, np.minimum(stamp, static.depth[view]) if nominal else stamp, depth)  # never behind what it hides
        confidence = np.where(stamp > 0, config.mask_confidence[model.kind], confidence)
        owned |= stamp > 0
    depth = _near_a_mover(depth, owned, moving, times, config)
    rest = replace(static, depth=tuple(depth if v == view else d for v, d in enumerate(static.depth)))
    parts.append(_left_over(capture, masks, regions, (view, times), tracks2d, rest, config))
    for note in notes:
        fallback(note)
    provenance = Provenance("movers", notes=tuple(notes), figures={**static.provenance.figures, **figures})
    all_depth = tuple(depth if v == view else d for v, d in enumerate(static.depth))
    all_confidence = tuple(confidence.astype(np.float16) if v == view else c for v, c in enumerate(static.confidence))
    joined = Depth(provenance, all_depth, all_confidence)
    return joined, _join(capture, parts, provenance)


def _near_a_mover(
    depth: NDArray[np.float32], owned: NDArray[np.bool_], moving: NDArray[np.bool_], times: Sequence[int], config: MoverConfig
) -> NDArray[np.float32]:
    """`depth` (T, H, W) of a view in which what moves (F, H, W) and no mover has `owned` (T, H, W) lies as deep as the movers around it in the image
    and in time, if any are near: a head for whose images no model holds stays on its neck, not on the wall behind it."""
    result = depth.copy()
    near = near_depths((depth[time], owned[time].astype(np.float32)) for time in times)
    for (mean, much), time, shown in zip(near, times, moving, strict=True):
        left = shown & ~owned[time] & (much > config.near)
        result[time][left] = mean[left]
    return result


def _model_with_scale(
    capture: Capture, mover: Mover, tracks: tuple[Tracks2D, LongTracks], static: Depth, config: MoverConfig
) -> tuple[MoverModel, ScaleChoice]:
    """The first model of the mover whose scale is more than a guess; if there is none, the one with the surest scale.

    A wrong shape shows in its scale: no rule of motion fits the path of its middle.
    """
    choices = [
        (model, choose_scale(_evidence(mover, model, static, config), config.scale)) for model in model_mover(capture, mover, *tracks, config.model)
    ]
    sure = [pair for pair in choices if pair[1].confidence >= config.scale.least_quality]
    model, choice = sure[0] if sure else max(choices, key=lambda pair: pair[1].confidence)
    return model, choice if choice.confidence > 0 else replace(choice, scale=_touching(mover, model, static))


def _movers_before(static: Depth, view: int, times: Sequence[int], moving: NDArray[np.bool_], share: float) -> Depth:
    """`static` with all that moves (F, H, W) brought nearer: among the Gaussians of a world without depth, movers would be half hidden."""
    depth = np.array(static.depth[view], np.float32)
    depth[list(times)] = np.where(moving, share * depth[list(times)], depth[list(times)])
    return replace(static, depth=tuple(depth if v == view else d for v, d in enumerate(static.depth)))


def _touching(mover: Mover, model: MoverModel, static: Depth) -> float:
    """The largest scale at which the mover never lies behind the depth that `static` gives its pixels, but for the worst twentieth of them."""
    own = model.depth
    there = static.depth[mover.view][mover.times].astype(np.float32)
    known = (own > 0) & (there > 0)
    return float(np.percentile(there[known] / own[known], 5)) if known.any() else 1.0


def _moving_masks(masks: Masks, view: int, times: Sequence[int]) -> NDArray[np.bool_]:
    return np.stack([masks.moving(view, time) for time in times])


def _evidence(mover: Mover, model: MoverModel, static: Depth, config: MoverConfig) -> ScaleEvidence:
    """Camera centres, offsets, ground contacts and occlusion bounds of one mover."""
    known = np.flatnonzero(np.isfinite(model.centers[:, 0]) & (model.depth > 0).any(axis=(1, 2)))
    rotation, shift = mover.world_to_camera[:, :3, :3], mover.world_to_camera[:, :3, 3]
    centers = -np.einsum("fji,fj->fi", rotation, shift)
    offsets = np.einsum("fji,fj->fi", rotation, model.centers)
    depth = [static.depth[mover.view][t] for t in mover.times]
    sure = [static.confidence[mover.view][t] for t in mover.times]
    ground, bounds = [], []
    for frame in known:
        contact = ground_ratio(depth[frame], sure[frame], mover.masks[frame], model.depth[frame])
        if contact is not None:
            ground.append(contact)
    for frame in known[:: max(1, len(known) // 20)]:
        others = _spread_frames(int(frame), len(mover.times), config.hidden_from)
        behind = hidden_depth(depth, sure, mover.K, mover.world_to_camera, int(frame), others)
        bound = occlusion_bound(behind, mover.masks[frame], model.depth[frame])
        if bound is not None:
            bounds.append(bound)
    return ScaleEvidence(centers[known], offsets[known], np.array(ground).reshape(-1, 2), np.array(bounds))


def _spread_frames(frame: int, count: int, wanted: int) -> list[int]:
    grid = np.unique(np.linspace(0, count - 1, wanted + 1).round().astype(int))
    return [int(g) for g in grid if g != frame][: wanted + 1]


def _sentences(index: int, model: MoverModel, choice: ScaleChoice, config: MoverConfig) -> list[str]:
    notes = []
    if model.kind == "articulated":
        notes.append(f"moving object {index} is not rigid: its tracks are lifted with the depth of a roughly fitting rigid shape")
    if model.kind == "flat":
        deep, why = model.figures.get("too_deep"), "could not be solved as a rigid body"
        if deep is not None:
            why = f"would be {deep} times as deep as large as a rigid body, which is not believed"
        notes.append(f"moving object {index} {why}: it is treated as a flat layer of the depth its apparent size tells")
    if choice.confidence < config.scale.least_quality:
        notes.append(f"the size of moving object {index} against the static world is a guess ({choice.winner}): other views of it may be misplaced")
    return notes


def _tracks_of_model(capture: Capture, mover: Mover, model: MoverModel, scales: Array, config: MoverConfig) -> tuple[Tracks3D, dict[str, object]]:
    """Tracks of a mover, `scales` (F,) times its object units, and figures about them: a rigid body's dense points, without the parts that move on
    their own, whose tracks are lifted."""
    if model.kind != "rigid" or model.shape is None:
        return _lifted_tracks(capture, mover, model, scales), {}
    whole = _rigid_tracks(capture, mover, model, scales, config)
    loose, judged = loose_tracks(mover, model, max(2.0, config.loose_error * float(np.hypot(*mover.masks.shape[1:]))))
    stays = ~loose_points(mover, model, loose, judged)
    figures: dict[str, object] = {"loose_share": round(float(1 - stays.mean()), 4)}
    if 1 - stays.mean() < config.loose_share:
        return whole, figures
    own = model.tracks
    limbs = _lifted_tracks(capture, mover, replace(model, tracks=ImageTracks(own.xy[loose], own.visible[loose], own.placed[loose])), scales)
    return joined_tracks((whole.rows(stays), limbs), PROVENANCE), figures | {"loose_tracks": len(limbs.xyz), "dense_points_left": int(stays.sum())}


def _rigid_tracks(capture: Capture, mover: Mover, model: MoverModel, scales: Array, config: MoverConfig) -> Tracks3D:
    """Points of a rigid object at every time index: poses are cubic between the placed frames."""
    if model.object_to_camera is None or model.shape is None:
        return _lifted_tracks(capture, mover, model, scales)
    placed = np.flatnonzero(np.isfinite(model.object_to_camera[:, 0, 0]))
    poses = np.tile(np.eye(4), (capture.times, 1, 1))
    known = np.zeros(capture.times, bool)
    visibility = np.zeros((len(model.shape.points), capture.times), np.float32)
    for frame in placed:
        time = mover.times[frame]
        metric = model.object_to_camera[frame].copy()
        metric[:3, 3] *= scales[frame]
        poses[time] = np.linalg.inv(mover.world_to_camera[frame]) @ metric
        known[time] = True
        visibility[:, time] = _sees(mover, model, int(frame), config.depth_slack)
    poses = fill_poses(poses, known, capture.timestamps)
    size = np.interp(capture.timestamps, capture.timestamps[[mover.times[frame] for frame in placed]], scales[placed])
    xyz = np.einsum("tij,pj->pti", size[:, None, None] * poses[:, :3, :3], model.shape.points) + poses[None, :, :3, 3]
    tracks = solid_tracks(PROVENANCE, xyz, visibility, np.where(visibility > 0, 1.0, 0.5), model.shape.color, native=True)
    return replace(tracks, spacing=(float(np.median(scales)) * model.shape.spacing).astype(np.float32))


def _sees(mover: Mover, model: MoverModel, frame: int, slack: float) -> NDArray[np.float32]:
    if model.object_to_camera is None or model.shape is None:
        return np.zeros(0, np.float32)
    pose = model.object_to_camera[frame]
    camera = model.shape.points @ pose[:3, :3].T + pose[:3, 3]
    pixel = camera @ mover.K[frame].T
    pixel = pixel[:, :2] / np.maximum(pixel[:, 2:], 1e-9)
    height, width = mover.masks.shape[1:]
    inside = (pixel >= 0).all(axis=1) & (pixel[:, 0] < width) & (pixel[:, 1] < height) & (camera[:, 2] > 0)
    column, row = np.clip(pixel[:, 0].astype(int), 0, width - 1), np.clip(pixel[:, 1].astype(int), 0, height - 1)
    surface = model.depth[frame][row, column]
    return (inside & (surface > 0) & (camera[:, 2] <= (1 + slack) * surface)).astype(np.float32)


def _lifted_tracks(capture: Capture, mover: Mover, model: MoverModel, scales: Array) -> Tracks3D:
    """Image tracks of the mover lifted with its depth; unknown moments are linear in time, relative to the object's own path."""
    tracks = model.tracks
    xyz = np.zeros((len(tracks.xy), capture.times, 3))
    known = np.zeros((len(tracks.xy), capture.times), bool)
    shown = np.zeros((len(tracks.xy), capture.times), np.float32)
    for frame in np.flatnonzero((model.depth > 0).any(axis=(1, 2))):
        time = mover.times[frame]
        z = _depth_at(model, int(frame), tracks.xy[:, frame])
        good = tracks.placed[:, frame] & (z > 0)
        xyz[good, time] = unproject_points(tracks.xy[good, frame], scales[frame] * z[good], mover.K[frame], mover.world_to_camera[frame])
        known[good, time] = True
        shown[good & tracks.visible[:, frame], time] = 1
    keep = shown.sum(axis=1) >= max(2, int(0.05 * len(mover.times)))
    xyz, known, shown, xy, visible = xyz[keep], known[keep], shown[keep], tracks.xy[keep], tracks.visible[keep]
    path = _world_path(capture, mover, model, scales)
    filled = fill_between(xyz - path[None], known) + path[None]
    first = visible.argmax(axis=1)
    color = np.zeros((len(xy), 3), np.float32)
    for frame in np.unique(first):
        rows = np.flatnonzero(first == frame)
        color[rows] = sample(np.asarray(capture.image(mover.view, mover.times[frame]), np.float32), xy[rows, frame]) / 255
    confidence = np.where(shown > 0, 0.7, np.where(known, 0.35, 0)).astype(np.float32)
    native = (known[:, mover.times].mean(axis=1) > 0.8) & (tracks.placed[keep] & ~visible).any(axis=1)
    return solid_tracks(PROVENANCE, filled, shown, confidence, color, native=native)


def _depth_at(model: MoverModel, frame: int, xy: NDArray[np.float32]) -> Array:
    """(P,) depth in object units at image points: bilinear inside the mask; a flat object's is the same beyond its mask, 0 otherwise."""
    depth = model.depth[frame]
    whole = sample((depth > 0).astype(np.float32), xy) > 0.999
    outside = float(np.median(depth[depth > 0])) if model.kind == "flat" else 0.0
    return np.where(whole, sample(depth, xy), outside).astype(np.float64)


def _world_path(capture: Capture, mover: Mover, model: MoverModel, scales: Array) -> Array:
    """(T, 3) path of the object's centre in the world."""
    path = np.zeros((capture.times, 3))
    known = np.zeros(capture.times, bool)
    for frame in np.flatnonzero(np.isfinite(model.centers[:, 0])):
        pose = mover.world_to_camera[frame]
        path[mover.times[frame]] = (scales[frame] * model.centers[frame] - pose[:3, 3]) @ pose[:3, :3]
        known[mover.times[frame]] = True
    return fill_path(path, known, capture.timestamps) if known.any() else path


def _left_over(
    capture: Capture,
    masks: Masks,
    regions: Sequence[NDArray[np.bool_]],
    frames: tuple[int, Sequence[int]],
    tracks2d: Tracks2D,
    static: Depth,
    config: MoverConfig,
) -> Tracks3D:
    """Tracks on moving pixels that belong to no large mover, lifted with the depth of their surroundings."""
    view, times = frames
    rest = [np.full((capture.times, int(h), int(w)), -1, np.int8) for w, h in capture.sizes]
    rest[view][list(times)] = np.where(_moving_masks(masks, view, times), 1, -1)
    for region in regions:
        rest[view][list(times)] = np.where(region, -1, rest[view][list(times)])
    lifted = lift_tracks(tracks2d, static, Masks(Provenance("rest"), tuple(rest)), capture, config.lift)
    return replace(lifted, confidence=(0.5 * lifted.confidence).astype(np.float16))


def _join(capture: Capture, parts: Sequence[Tracks3D], provenance: Provenance) -> Tracks3D:
    """The tracks of all movers, each a group of its own."""
    filled = [replace(p, group=np.full(len(p.xyz), i, np.int32)) for i, p in enumerate(parts) if len(p.xyz)]
    return joined_tracks(filled, provenance) if filled else empty_tracks(capture.times, "movers", provenance.notes)


def _not_alone(capture: Capture) -> str | None:
    if capture.has("depth"):
        return ""
    return None if _filming(capture) == 1 else ""


def _alone(capture: Capture) -> str | None:
    return None if capture.has("depth") or _filming(capture) > 1 else ""


def _filming(capture: Capture) -> int:
    """Number of views with training frames."""
    return int((capture.train & capture.present).any(axis=1).sum())


def _solve(capture: Capture, priors: Priors) -> tuple[Depth, Tracks3D]:
    masks = priors.require(Masks)
    static = static_depth(capture, masks, priors.cameras)
    return moving_objects(capture, masks, priors.require(Tracks2D), priors.require(LongTracks), static)


def _lift(capture: Capture, priors: Priors) -> list[Tracks3D]:
    return [lift_tracks(priors.require(Tracks2D), priors.require(Depth), priors.require(Masks), capture)]


PROVIDERS = (
    Provider("movers", ("depth", "tracks3d"), ("masks", "tracks2d", "longtracks", "cameras"), 20, _not_alone, _solve, version=11),
    Provider("lifted_tracks", ("tracks3d",), ("masks", "tracks2d", "depth"), 15, _alone, _lift),
)
