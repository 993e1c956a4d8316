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
from fourfold.priors.contracts import Depth, LongTracks, Masks, Priors, Provenance, Tracks2D, Tracks3D
from fourfold.priors.depth.plane_sweep import static_depth
from fourfold.priors.depth.sweep_views import usable_frames
from fourfold.priors.movers.body_path import SteadyNumbers, steady_factors
from fourfold.priors.movers.mover_models import ModelConfig, Mover, MoverModel, model_mover, seen_tracks
from fourfold.priors.movers.mover_regions import RegionConfig, movers_of
from fourfold.priors.movers.mover_tracks import MoverTrackNumbers, tracks_of_model
from fourfold.priors.movers.object_evidence import ground_ratio, hidden_depth, occlusion_bound
from fourfold.priors.movers.object_scale import ScaleChoice, ScaleConfig, ScaleEvidence, choose_scale
from fourfold.priors.movers.stamped_depth import StampedDepth
from fourfold.priors.movers.touching_movers import TouchingNumbers, split_touching
from fourfold.priors.providers import Provider
from fourfold.priors.tracking.lift import LiftConfig, empty_tracks, joined_tracks, lift_tracks

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MoverConfig:
    """Numbers of the movers.

    Attributes:
        regions, touching, model, scale, steady, tracks, lift: the parts.
        hidden_from: other frames asked for what an object hides.
        mask_confidence: confidence of the depth inside masks per kind of model.
        before: where nothing tells the depth of the static world or the scale, the farthest a mover gets is this share of what it hides.
        near: share of the pixels around one, in the image and in time, that must be movers' for it to take their depth.
    """

    regions: RegionConfig = field(default_factory=RegionConfig)
    touching: TouchingNumbers = field(default_factory=TouchingNumbers)
    model: ModelConfig = field(default_factory=ModelConfig)
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    steady: SteadyNumbers = field(default_factory=SteadyNumbers)
    tracks: MoverTrackNumbers = field(default_factory=MoverTrackNumbers)
    lift: LiftConfig = field(default_factory=LiftConfig)
    hidden_from: int = 4
    mask_confidence: dict[str, float] = field(default_factory=lambda: {"rigid": 0.8, "articulated": 0.5, "flat": 0.3})
    before: float = 0.8
    near: float = 0.02


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
    stamped = StampedDepth(static.depth[view].astype(np.float32), static.confidence[view].astype(np.float32))
    behind = static.depth[view] if nominal else None
    parts: list[Tracks3D] = []
    notes: list[str] = []
    figures: dict[str, object] = {}
    for index, region in enumerate(counted(regions, "what moves")):
        mover = Mover(view, times, region, capture.K[view, times], capture.world_to_camera[view, times])
        model, choice = _model_with_scale(capture, mover, (tracks2d, longtracks), static, config)
        scales = choice.scale * steady_factors(mover, model, choice.scale, capture.timestamps[times], config.steady)
        notes += _sentences(index, model, choice, config)
        part, more = tracks_of_model(capture, mover, model, scales, config.tracks)
        parts.append(part)
        steadied = round(float(np.std(scales) / choice.scale), 4)
        figures[f"mover_{index}"] = {"kind": model.kind, **model.figures, **more, "steadied": steadied, "scale": choice.figures()}
        stamped.stamp(times, model.depth * scales[:, None, None], config.mask_confidence[model.kind], behind)
    stamped.draw_near(times, moving, config.near)
    all_depth = tuple(stamped.depth if v == view else d for v, d in enumerate(static.depth))
    parts.append(_left_over(capture, masks, regions, (view, times), tracks2d, replace(static, depth=all_depth), config))
    for note in notes:
        fallback(note)
    provenance = Provenance("movers", notes=tuple(notes), figures={**static.provenance.figures, **figures})
    all_confidence = tuple(stamped.confidence.astype(np.float16) if v == view else c for v, c in enumerate(static.confidence))
    joined = Depth(provenance, all_depth, all_confidence)
    return joined, _join(capture, parts, provenance)


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
