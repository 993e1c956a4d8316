"""Shape of Motion in every camera for itself, put side by side: the baseline of spec monofusion.md section 10.

Each camera lifts its own tracks with its own depth and fits its own bases. Gaussians, backgrounds and bases are concatenated; a Gaussian may
only use the bases of its own camera: its other coefficients have the logit minus infinity, so they are 0 after the softmax and stay so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.geometry.rotations import rotation6d_to_matrix
from fourfold.initialize.background import BackgroundNumbers, static_layer
from fourfold.initialize.object_layer import ObjectNumbers, object_layer
from fourfold.initialize.static_scene import scene_of
from fourfold.initialize.tracks_to_bases import ClusterNumbers
from fourfold.notices import fallback
from fourfold.priors.contracts import Depth, Masks, Priors, Tracks2D
from fourfold.priors.tracking.lift import lift_tracks
from fourfold.recipes.recipe import Quality
from fourfold.scene.scene import Layer, Scene

BLOCKED = float("-inf")
"""Logit of a basis that belongs to another camera."""


@dataclass(frozen=True)
class EachCameraAlone:
    """Layers "static" and "object", the parts of all training cameras one after another.

    Attributes:
        background: per camera, its count for all cameras together; object: the same (section 10: 10 bases, 40 000 and 100 000 Gaussians).
    """

    background: BackgroundNumbers = BackgroundNumbers(count=25_000, frames=10)
    object: ObjectNumbers = ObjectNumbers(count=18_000, clusters=ClusterNumbers(bases=10))

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The initial scene. FourfoldError without the priors "masks", "depth" and "tracks2d"."""
        masks, depth, tracks2d = priors.require(Masks), priors.require(Depth), priors.require(Tracks2D)
        views = [int(v) for v in np.flatnonzero(capture.train.any(axis=1))]
        share = replace(quality, gaussians=quality.gaussians / len(views))
        still, moving = [], []
        for view, drawn in zip(views, random.spawn(len(views)), strict=True):
            alone = replace(capture, train=capture.train & (np.arange(capture.views) == view)[:, None])
            own = replace(priors, tracks3d=lift_tracks(_of_view(tracks2d, view), depth, masks, alone))
            first, second = drawn.spawn(2)
            still.append(static_layer(alone, own, share, first, self.background))
            layer = object_layer(alone, own, share, second, self.object)
            if layer is None:
                fallback(f"view {capture.view_names[view]!r} has no tracks of a moving object: it adds background only")
            else:
                moving.append(layer)
        layers = [replace(still[0], splats=_joined([layer.splats for layer in still]))]
        return scene_of([*layers, *([side_by_side(moving)] if moving else [])], capture, priors)


def side_by_side(layers: list[Layer]) -> Layer:
    """Layers on SE(3) bases with the same knots as one: all bases, about the first one's pivot, each Gaussian bound to its own."""
    pivot, sizes = layers[0].fixed["pivot"], [layer.shared["rotation6d"].shape[0] for layer in layers]
    logits = []
    for number, layer in enumerate(layers):
        own = layer.splats["motion_logits"]
        wide = own.new_full((len(layer), sum(sizes)), BLOCKED)
        wide[:, sum(sizes[:number]) : sum(sizes[: number + 1])] = own
        logits.append(wide)
    splats = _joined([{k: v for k, v in layer.splats.items() if k != "motion_logits"} for layer in layers])
    shared = {
        "rotation6d": torch.cat([layer.shared["rotation6d"] for layer in layers]).contiguous(),
        "translation": torch.cat([about(layer, pivot) for layer in layers]).contiguous(),
    }
    return replace(layers[0], splats=splats | {"motion_logits": torch.cat(logits).contiguous()}, shared=shared)


def about(layer: Layer, pivot: Tensor) -> Tensor:
    """(B, K, 3) translations with which the layer's bases do the same about another `pivot` (3,)."""
    rotation, offset = rotation6d_to_matrix(layer.shared["rotation6d"]), pivot - layer.fixed["pivot"]
    return layer.shared["translation"] + (rotation @ offset - offset)


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]).contiguous() for name in parts[0]}


def _of_view(tracks: Tracks2D | None, view: int) -> Tracks2D:
    rows = tracks.view == view  # type: ignore[union-attr]
    names = ("xy", "visibility", "confidence", "view", "query_time")
    return replace(tracks, **{name: getattr(tracks, name)[rows] for name in names})  # type: ignore[type-var]
