"""Rendered tracks: where the surface seen at a pixel is at other times, against 2D tracks and depth.

Spec shape_of_motion.md sections 7, 8 and 12. Each Gaussian carries its position in the world at target time k; these three numbers per
target are blended like colours, at the query pixels alone. Blending is linear, so the points are taken to the axes of target camera k afterwards:
sum w (R x + t) = R sum(w x) + alpha t.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fourfold.geometry.projection import project_camera_points
from fourfold.kernels.devices import compiled
from fourfold.losses.base import Sample, Step, TrackTargets, mean_of
from fourfold.losses.depth import EPSILON, disparity
from fourfold.losses.robust import trimmed_mean
from fourfold.losses.track_error import Rule, track_error
from fourfold.render.points import AtPoints
from fourfold.scene.scene import STATIC

TRACKS = "tracks"
"""Name of the values (K, N, 3) at the query pixels: positions in the world at the K target times."""
SMALLEST_ALPHA = 0.05
"""Below this accumulated opacity nothing can be said about the surface."""
SMALLEST_DEPTH = 1e-6
"""Depths are clamped to it before they divide, scene units."""


@dataclass(frozen=True)
class TrackNumbers:
    """How tracks are compared; the defaults repair the released code's quirks (section 12).

    Attributes:
        quantile: the worst share above it is left out.
        divide_by_alpha: False gives the released X(p), which leans towards the camera where the rendering is not opaque.
        interval_weight: weigh targets by exp(-2 |dt| / T); False is what the released code does, where the factor cancels.
    """

    quantile: float = 0.98
    divide_by_alpha: bool = True
    interval_weight: bool = True


PARITY = TrackNumbers(divide_by_alpha=False, interval_weight=False)
"""What the released Shape of Motion computes."""


def track_times(step: Step) -> Mapping[tuple[str, str], Tensor]:
    """The target times of every sample for all layers."""
    found: dict[tuple[str, str], Tensor] = {}
    for item, sample in enumerate(step.samples):
        if sample.tracks is not None:
            times = sample.tracks.times.to(step.scene.layers[0].splats["means"].dtype)
            found |= {(layer.name, f"{TRACKS}:{item}"): times for layer in step.scene.layers}
    return found


def track_channels(step: Step, item: int) -> Mapping[str, AtPoints]:
    """The values for sample `item`: empty without track targets. What stands still is blended but not pulled: it has no track."""
    targets = step.samples[item].tracks
    if targets is None:
        return {}
    key = f"{TRACKS}:{item}"
    if key not in step.memo:
        times = targets.times.to(step.scene.layers[0].splats["means"].dtype)
        moved = [step.places_of(layer, key, times) for layer in step.scene.layers]
        parts = [places.detach() if layer.role == STATIC else places for layer, places in zip(step.scene.layers, moved, strict=True)]
        step.memo[key] = AtPoints(targets.pixels, torch.cat(parts, dim=1))
    return {TRACKS: step.memo[key]}


def _points(step: Step, item: int, targets: TrackTargets, numbers: TrackNumbers) -> tuple[Tensor, Tensor]:
    """`in_target_axes` of sample `item`; computed once for all losses that ask."""
    key = f"points:{item}:{numbers.divide_by_alpha}"
    if key not in step.memo:
        step.memo[key] = in_target_axes(step.extra[item][TRACKS], targets, numbers.divide_by_alpha)
    return step.memo[key]


def in_target_axes(read: Tensor, targets: TrackTargets, divide_by_alpha: bool) -> tuple[Tensor, Tensor]:
    """Blended positions (P, K, 3) in target camera axes, and which queries are opaque enough (P,), of what was `read` (P, 3 K + 1)."""
    opacity, world = read[:, -1], read[:, :-1].unflatten(1, (-1, 3))
    poses = torch.stack([camera.world_to_camera for camera in targets.cameras]).to(world)
    points = torch.einsum("kij,pkj->pki", poses[:, :3, :3], world) + opacity[:, None, None] * poses[:, :3, 3]
    points = points / opacity.clamp_min(SMALLEST_ALPHA)[:, None, None] if divide_by_alpha else points
    return points, opacity.detach() > SMALLEST_ALPHA


def target_weight(targets: TrackTargets, step: Step, item: int, numbers: TrackNumbers, opaque: Tensor) -> Tensor:
    """(P, K) weight of each query and target of sample `item`."""
    weight = targets.visible * targets.weight * opaque[:, None]
    if numbers.interval_weight:
        first, last = step.scene.time_range
        interval = (targets.times - step.samples[item].time).abs() / max(last - first, 1e-9)
        weight = weight * torch.exp(-2 * interval)
    return weight


Plain = Callable[[Step, Sample, TrackTargets, Tensor, Tensor], Tensor]
"""The error by torch: of a sample and its targets, the rendered points (P, K, 3) in target camera axes and the weight (P, K)."""


def _averaged(step: Step, numbers: TrackNumbers, depths: bool, plain: Plain) -> Tensor:
    """The error averaged over the images with tracks, of CPU float32 by the compiled kernel, of others by `plain`."""
    losses = []
    for item, sample in enumerate(step.samples):
        targets = sample.tracks
        if targets is None:
            continue
        read = step.extra[item][TRACKS]
        library = compiled(read, targets.xy, targets.depth, targets.visible, targets.weight)
        if library is not None:
            error = track_error(library, read, targets, _rule(step, sample, targets, numbers, depths))
        else:
            points, opaque = _points(step, item, targets, numbers)
            error = plain(step, sample, targets, points, target_weight(targets, step, item, numbers, opaque))
        losses.append(error if depths else error / max(sample.camera.width, sample.camera.height))
    return mean_of(losses, step.renders[0].alpha)


def _rule(step: Step, sample: Sample, targets: TrackTargets, numbers: TrackNumbers, depths: bool) -> Rule:
    first, last = step.scene.time_range
    away = [abs(time - sample.time) / max(last - first, 1e-9) for time in targets.times.tolist()]
    factors = tuple(math.exp(-2 * share) if numbers.interval_weight else 1.0 for share in away)
    smallest = _smallest_depth(sample) if depths else SMALLEST_DEPTH
    return Rule(depths, numbers.divide_by_alpha, factors, SMALLEST_ALPHA, smallest, step.extent, EPSILON, numbers.quantile)


def _smallest_depth(sample: Sample) -> float:
    """A depth before the near plane is noise of a nearly transparent pixel and would dominate the mean."""
    return max(sample.camera.near, SMALLEST_DEPTH)


@dataclass(frozen=True)
class TrackReprojection:
    """Trimmed weighted L1 in pixels over the larger image side (section 8, track 2D; e is the mean over x and y)."""

    numbers: TrackNumbers = TrackNumbers()

    def further_times(self, step: Step) -> Mapping[tuple[str, str], Tensor]:
        """The target times."""
        return track_times(step)

    def channels(self, step: Step, item: int) -> Mapping[str, AtPoints]:
        """Positions at the target times, for the query pixels."""
        return track_channels(step, item)

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the images with tracks; 0 without any."""
        return _averaged(step, self.numbers, False, self.plain)

    def plain(self, step: Step, sample: Sample, targets: TrackTargets, points: Tensor, weight: Tensor) -> Tensor:
        """The error of one sample in pixels; see `Plain`."""
        before = torch.cat([points[..., :2], points[..., 2:].clamp_min(SMALLEST_DEPTH)], dim=-1)
        pixels = torch.stack([project_camera_points(before[:, k], camera.K)[0] for k, camera in enumerate(targets.cameras)], dim=1)
        weight = weight * ~(points[..., 2] < SMALLEST_DEPTH)  # what lies behind a camera has no place in its image
        return trimmed_mean((pixels - targets.xy).abs().mean(-1), weight, self.numbers.quantile)


@dataclass(frozen=True)
class TrackDepth:
    """Trimmed weighted L1 of disparities at the targets (section 8, track depth)."""

    numbers: TrackNumbers = TrackNumbers()

    def further_times(self, step: Step) -> Mapping[tuple[str, str], Tensor]:
        """The target times."""
        return track_times(step)

    def channels(self, step: Step, item: int) -> Mapping[str, AtPoints]:
        """Positions at the target times, for the query pixels."""
        return track_channels(step, item)

    def __call__(self, step: Step) -> Tensor:
        """The scalar loss, averaged over the images with tracks; 0 without any."""
        return _averaged(step, self.numbers, True, self.plain)

    def plain(self, step: Step, sample: Sample, targets: TrackTargets, points: Tensor, weight: Tensor) -> Tensor:
        """The error of one sample in disparities; see `Plain`."""
        known = torch.where(targets.depth > 0, targets.depth, step.extent)
        rendered = points[..., 2].clamp_min(_smallest_depth(sample))
        error = (disparity(rendered, step.extent) - disparity(known, step.extent)).abs()
        return trimmed_mean(error, weight * (targets.depth > 0), self.numbers.quantile)
