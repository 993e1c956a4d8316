"""Initialisation of MonoFusion: depth that agrees over time and views gives points, features give groups, groups give motion bases.

Spec monofusion.md sections 2 to 5.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.geometry.spacing import neighbour_spacing
from fourfold.initialize.background import BackgroundNumbers, static_layer
from fourfold.initialize.monofusion_motion import FollowNumbers, bases_of_paths, coefficient_logits, followed_paths, identity_bases
from fourfold.initialize.monofusion_points import SeenPoints, canonical_moment, crowded_moment, foreground_points, hull_points
from fourfold.initialize.object_layer import ObjectMotion, ObjectNumbers, neighbour_logits, object_motion
from fourfold.initialize.splats import make_splats
from fourfold.initialize.static_scene import scene_of
from fourfold.initialize.unseen_surroundings import unseen_surroundings
from fourfold.notices import fallback
from fourfold.priors.contracts import Depth, Masks, Priors
from fourfold.priors.features.motion_groups import GroupNumbers, group_points
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.se3_bases import SE3Bases
from fourfold.scene.scene import DYNAMIC, Layer, Scene


@dataclass(frozen=True)
class ForegroundNumbers:
    """How the moving layer starts.

    Attributes:
        count: Gaussians at quality "normal" (18 000 in the paper).
        points: "pixels" of all cameras (the paper), or the surface of the "hull", which needs the prior "clouds".
        sure: confidence of the depth from which a moving pixel becomes a point.
        groups: how points are grouped; temperature: of the coefficients, see `coefficient_logits`.
        trajectories: bases start as "identity" (the paper), or "followed" along the clouds' velocities, which needs the prior "clouds"; "tracked"
            takes the bases and coefficients of lifted tracks, as Shape of Motion, in the place of groups, which needs the prior "tracks3d".
        opacity: at the start; spacing_share: standard deviation as a share of the distance to the nearest three neighbours.
    """

    count: int = 18_000
    points: Literal["pixels", "hull"] = "pixels"
    sure: float = 0.25
    groups: GroupNumbers = field(default_factory=GroupNumbers)
    temperature: float = 10.0
    trajectories: Literal["identity", "followed", "tracked"] = "identity"
    follow: FollowNumbers = field(default_factory=FollowNumbers)
    opacity: float = 0.7
    spacing_share: float = 0.7


@dataclass(frozen=True)
class MonoFusionStart:
    """Layers "static" and "object", both with the splat `feature` (N, C) where there is a features prior, and "unseen", which stays as it is.

    `fill_unseen` continues the surroundings where no camera looks.
    """

    background: BackgroundNumbers = BackgroundNumbers(count=25_000, frames=40)
    foreground: ForegroundNumbers = field(default_factory=ForegroundNumbers)
    fill_unseen: bool = True

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The initial scene, in the capture's world coordinates. FourfoldError without the priors "masks" and "depth"."""
        priors.require(Masks)
        priors.require(Depth)
        still, moving = random.spawn(2)
        layers = [static_layer(capture, priors, quality, still, self.background)]
        unseen = unseen_surroundings(layers[0], capture) if self.fill_unseen else None
        mover = moving_layer(capture, priors, quality, moving, self.foreground)
        if mover is None:
            fallback(f"no moving pixel of {capture.name} has a known depth: the scene starts without an object layer")
        else:
            layers.append(mover)
        channels = 0 if priors.features is None else priors.features.feature[0].shape[-1]
        if channels:
            layers[0].splats["feature"] = torch.ones(len(layers[0]), channels)  # section 6: 1 in the released code
        return scene_of([*layers, *([] if unseen is None else [unseen])], capture, priors)


def moving_layer(capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator, numbers: ForegroundNumbers) -> Layer | None:
    """The layer "object" with a knot at every moment that was trained on; None where no moving pixel has depth."""
    count = max(100, round(numbers.count * quality.gaussians))
    clouds = priors.clouds if priors.clouds is not None and len(priors.clouds.xyz) else None
    if numbers.points == "hull" and clouds is not None:
        index = crowded_moment(clouds, capture.train)
        points = hull_points(capture, priors, index, count, random)
    else:
        index = canonical_moment(capture, priors, numbers.sure)
        points = foreground_points(capture, priors, index, numbers.sure, count, random)
    if points is None:
        return None
    tracked = object_motion(capture, priors, random, ObjectNumbers()) if numbers.trajectories == "tracked" else None
    if tracked is not None:
        return _tracked_layer(points, tracked, index, numbers)
    indices = np.flatnonzero(capture.train.any(axis=0))
    groups = group_points(points.xyz, points.feature if points.feature.shape[1] else None, numbers.groups)
    pivot = np.median(points.xyz, axis=0)
    start = int(np.flatnonzero(indices == index)[0])
    if numbers.trajectories == "followed" and clouds is not None:
        paths = followed_paths(points.xyz, groups, clouds, capture.timestamps, indices, start, numbers.follow)
        shared = bases_of_paths(paths, groups, start, pivot)
    else:
        shared = identity_bases(len(groups.centers), len(indices))
    splats = _splats(points, numbers)
    splats["motion_logits"] = torch.from_numpy(coefficient_logits(points.xyz, groups.centers, numbers.temperature))
    fixed = {"knots": torch.from_numpy(capture.timestamps[indices].astype(np.float32)), "pivot": torch.from_numpy(pivot.astype(np.float32))}
    return Layer("object", DYNAMIC, SE3Bases(), splats, shared, fixed)


def _tracked_layer(points: SeenPoints, motion: ObjectMotion, index: int, numbers: ForegroundNumbers) -> Layer:
    """The layer with the bases of lifted tracks; points seen at moment `index` take their neighbours' coefficients and go to the canonical time."""
    fitted, knot = motion.fitted, int(np.flatnonzero(motion.tracks.indices == index)[0])
    there = fitted.positions(fitted.means, fitted.logits)[knot].detach().numpy().astype(np.float64)
    logits = torch.from_numpy(neighbour_logits(points.xyz, there, fitted.logits.detach().numpy())[0]).float()
    back = fitted.canonical(torch.from_numpy(points.xyz).float(), logits, knot).detach().numpy().astype(np.float64)
    splats = _splats(replace(points, xyz=back), numbers) | {"motion_logits": logits}
    return Layer("object", DYNAMIC, SE3Bases(), splats, *motion.tensors())


def _splats(points: SeenPoints, numbers: ForegroundNumbers) -> dict[str, torch.Tensor]:
    spacing: NDArray[np.float32] = neighbour_spacing(points.xyz)
    low, high = np.quantile(spacing, (0.05, 0.95))
    scale = np.maximum(np.clip(spacing, low, high) * numbers.spacing_share, 0.3 * points.footprint)
    splats = make_splats(points.xyz, points.color, scale, numbers.opacity)
    if points.feature.shape[1]:
        splats["feature"] = torch.from_numpy(np.ascontiguousarray(points.feature))
    return splats
