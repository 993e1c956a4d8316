"""Static depth by plane sweep: any capture with cameras, movers cut out. Source: spec calibration.md sections A and E."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.counting import counted
from fourfold.notices import fallback
from fourfold.priors.contracts import Cameras, Depth, Masks, Priors, Provenance
from fourfold.priors.depth.enclosure import Enclosure
from fourfold.priors.depth.fill import pull_push
from fourfold.priors.depth.rig import stage_of
from fourfold.priors.depth.sweep_cost import SweepConfig
from fourfold.priors.depth.sweep_references import Swept, cloud_of, confidence_of, project_clouds, sweep_reference
from fourfold.priors.depth.sweep_views import (
    Frame,
    Source,
    camera_spread,
    gather_sources,
    range_from_points,
    search_range,
    usable_frames,
)
from fourfold.priors.depth_range import near_far
from fourfold.priors.frames_kept import KeptFrames
from fourfold.priors.given import given_depth
from fourfold.priors.providers import Provider
from fourfold.threads import in_threads


@dataclass(frozen=True)
class StaticDepthConfig:
    """Numbers of the static depth.

    Attributes:
        sweep: the sweep itself.
        max_references: images that are swept; the others get the depth of the nearest swept ones, projected.
        neighbours: images each reference is compared with.
        consistent_steps: two depths agree if their inverse depths differ by at most this many planes (plus 1 %).
        known_confidence: pixels below it are filled from their surroundings.
        nominal_depth: depth given to everything when the camera did not move, scene units.
    """

    sweep: SweepConfig = field(default_factory=SweepConfig)
    max_references: int = 20
    neighbours: int = 8
    consistent_steps: float = 1.5
    known_confidence: float = 0.25
    nominal_depth: float = 1.0


def static_depth(
    capture: Capture,
    masks: Masks,
    cameras: Cameras | None = None,
    config: StaticDepthConfig = StaticDepthConfig(),
    kept: KeptFrames = KeptFrames(),
) -> Depth:
    """Depth of the static world in every training frame.

    Depth that the capture brought is taken as it is. A camera that did not move gives a constant nominal depth with confidence 0. Cameras
    so far apart that none looks the same way as another give a sphere through the farthest camera, also with confidence 0.

    Args:
        capture: with cameras.
        masks: moving pixels, left out of the sweep and filled from their surroundings with confidence 0.
        cameras: its sparse points, where there are any, give the range of depths; otherwise a coarse sweep finds it.
        kept: keeps finished references for a run that is killed and made again.

    Returns:
        `Depth`; zero where there is no training frame. `provenance.figures` has "near", "far" (scene units), "references",
        "known_share" (share of static pixels that were matched) and "range_from".
    """
    if any(capture.has("depth", v) for v in range(capture.views)):
        return given_depth(capture)
    if (capture.cameras in ("rotation", "fixed", "unknown") and capture.views == 1) or camera_spread(capture) <= 1e-9:
        return _nominal_depth(capture, config)
    sources = gather_sources(capture, masks, config.sweep)
    references = _choose_references(sources, config.max_references)
    points = np.zeros((0, 3), np.float32) if cameras is None else cameras.points
    ranges = [range_from_points(sources[r], points) for r in references]
    range_from = "sparse points" if all(r is not None for r in ranges) else "coarse sweep"
    if range_from == "coarse sweep":
        common = search_range(sources, references, config.neighbours, config.sweep)
        if common is None:
            return _sphere_depth(capture, config)
        ranges = [r or common for r in ranges]
    jobs = [(sources, r, ends, config.neighbours, config.sweep) for r, ends in zip(references, ranges, strict=True) if ends is not None]
    found = in_threads(lambda job: _kept_sweep(kept, *job), jobs)
    swept = [s for s in counted(found, "sweeping", len(jobs)) if s is not None]
    if not swept:
        return _sphere_depth(capture, config)
    maps = [confidence_of(swept, i, config.consistent_steps) for i in range(len(swept))]
    return _assemble(capture, sources, swept, maps, range_from, config)


def _kept_sweep(
    kept: KeptFrames, sources: Sequence[Source], reference: int, ends: tuple[float, float], neighbours: int, config: SweepConfig
) -> Swept | None:
    """`sweep_reference`, or what it found before the run was killed."""

    def make() -> list[NDArray[Any]] | None:
        swept = sweep_reference(sources, reference, ends, neighbours, config)
        return None if swept is None else [swept.inverse, swept.cost, swept.margin, np.array([swept.step])]

    found = kept.frame(f"{reference:05d}", make)
    return None if found is None else Swept(sources[reference], found[0], found[1], found[2], float(found[3][0]))


def _choose_references(sources: Sequence[Source], limit: int) -> list[int]:
    return [int(i) for i in np.unique(np.linspace(0, len(sources) - 1, min(limit, len(sources))).round())]


def _assemble(
    capture: Capture,
    sources: Sequence[Source],
    swept: Sequence[Swept],
    maps: Sequence[NDArray[np.float32]],
    range_from: str,
    config: StaticDepthConfig,
) -> Depth:
    depth, confidence = _empty(capture)
    by_frame = {s.source.frames: i for i, s in enumerate(swept)}
    clouds = [cloud_of(s, c, config.known_confidence) for s, c in zip(swept, maps, strict=True)]
    for source in sources:
        index = by_frame.get(source.frames)
        if index is not None:
            inverse, sure = swept[index].inverse, maps[index]
        else:
            inverse, sure = project_clouds(source, swept, clouds)
        known = sure > config.known_confidence
        filled = np.maximum(pull_push(inverse, known), 1e-9) if known.any() else np.maximum(inverse, 1e-9)
        for view, time in source.frames:
            depth[view][time] = 1 / filled
            confidence[view][time] = np.where(known, sure, 0.05 * (source.image.valid > 0))
    result = Depth(Provenance("plane_sweep"), tuple(depth), tuple(confidence))
    near, far = near_far(result)
    static = np.concatenate([m[s.source.image.valid > 0] for m, s in zip(maps, swept, strict=True)])
    share = float((static > config.known_confidence).mean()) if len(static) else 0.0
    figures = {"near": near, "far": far, "references": len(swept), "known_share": round(share, 4), "range_from": range_from}
    return Depth(Provenance("plane_sweep", figures=figures), tuple(depth), tuple(confidence))


def _empty(capture: Capture) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float16]]]:
    shapes = [(capture.times, int(h), int(w)) for w, h in capture.sizes]
    return [np.zeros(s, np.float32) for s in shapes], [np.zeros(s, np.float16) for s in shapes]


def _sphere_depth(capture: Capture, config: StaticDepthConfig) -> Depth:
    """The far side of a sphere through the farthest camera, around what all cameras look at (spec calibration.md C starts there)."""
    stage = stage_of(capture)
    if stage is None:
        return _nominal_depth(capture, config)
    sentence = (
        f"no two cameras of {capture.name} look the same way, so a plane sweep can match nothing: "
        f"everything is put on a sphere of {stage.radius:.3g} units around what they look at"
    )
    fallback(sentence)
    sphere = Enclosure(stage.center, np.full((16, 32), 1 / max(stage.radius, 1e-9), np.float32), stage.radius)
    depth, confidence = _empty(capture)
    for view, time in usable_frames(capture):
        depth[view][time] = sphere.depth(capture.K[view, time], capture.world_to_camera[view, time], *depth[view].shape[1:])
    near, far = near_far(Depth(Provenance("sphere"), tuple(depth), tuple(confidence)))
    figures: dict[str, Frame | float | str] = {"near": near, "far": far, "known_share": 0.0, "range_from": "cameras"}
    return Depth(Provenance("sphere", notes=(sentence,), figures=figures), tuple(depth), tuple(confidence))


def _nominal_depth(capture: Capture, config: StaticDepthConfig) -> Depth:
    sentence = f"the camera of {capture.name} did not change place, so depth cannot be known: everything is put {config.nominal_depth:g} units away"
    fallback(sentence)
    depth, confidence = _empty(capture)
    for view, time in usable_frames(capture) or capture.train_frames():
        depth[view][time] = config.nominal_depth
    figures: dict[str, Frame | float | str] = {"near": 0.2 * config.nominal_depth, "far": 5 * config.nominal_depth, "range_from": "nominal"}
    return Depth(Provenance("nominal", notes=(sentence,), figures=figures), tuple(depth), tuple(confidence))


def _make(capture: Capture, priors: Priors) -> list[Depth]:
    return [static_depth(capture, priors.require(Masks), priors.cameras, kept=priors.kept)]


PROVIDERS = (Provider("plane_sweep", ("depth",), ("masks", "cameras"), 10, lambda _: None, _make, version=2),)
