"""The start that all baselines share: the same still points and the same clouds of moving points (spec baselines.md 6, fairness)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.initialize.background import BackgroundNumbers, static_layer
from fourfold.initialize.static_scene import scene_of
from fourfold.initialize.timed_clouds import RIG_BACKGROUND, Moving, MovingPoints, choose_points
from fourfold.priors.contracts import Clouds, Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import DYNAMIC, Layer, Motion, Scene


@dataclass(frozen=True)
class RigStart:
    """Which points a baseline starts from.

    Attributes:
        background: how the still part is sampled; moving: how the moving part is.
        split: keep the still part as a static layer of its own: the papers' variants with a star.
    """

    background: BackgroundNumbers = RIG_BACKGROUND
    moving: MovingPoints = field(default_factory=MovingPoints)
    split: bool = False

    def points(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator, moments: str = "all") -> Start:
        """Still and moving points; `moments` is "all", "first" or "fullest" (the one key moment with the most points)."""
        clouds = priors.require(Clouds)
        still = static_layer(capture, priors, quality, random, self.background)
        scene = scene_of([still], capture, priors)
        clouds = clouds if moments == "all" else one_moment(clouds, moments)
        return Start(scene, still, choose_points(clouds, capture, self.moving, quality, random), self.split)


@dataclass(frozen=True)
class Start:
    """A scene whose layers are still to be made, its still layer, its moving points (or None), and whether they stay apart."""

    scene: Scene
    still: Layer
    moving: Moving | None
    split: bool

    def rows(self) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Splats (N, ...) of the layer that moves, and (N,) bool, True for rows that come from moving points."""
        parts = [] if self.split else [self.still.splats]
        parts += [self.moving.splats] if self.moving is not None else []
        if not parts:
            parts = [{name: value[:0] for name, value in self.still.splats.items()}]
        counts = [len(part["means"]) for part in parts]
        moves = torch.cat([torch.full((n,), i == len(parts) - 1 and self.moving is not None) for i, n in enumerate(counts)])
        return {name: torch.cat([part[name] for part in parts]).contiguous() for name in parts[0]}, moves

    def scene_with(
        self, name: str, motion: Motion, splats: dict[str, torch.Tensor], shared: dict[str, torch.Tensor], fixed: dict[str, torch.Tensor]
    ) -> Scene:
        """The scene with a moving layer of this motion model, after the static one where they stay apart."""
        moving = Layer(name, DYNAMIC, motion, splats, shared, fixed)
        return replace(self.scene, layers=[replace(self.still, motion=Static()), moving] if self.split else [moving])


def one_moment(clouds: Clouds, which: str) -> Clouds:
    """The cloud of one key moment: the "first", or the "fullest"."""
    if len(clouds.xyz) == 0:
        return clouds
    indices, counts = np.unique(clouds.index, return_counts=True)
    chosen = indices[0] if which == "first" else indices[counts.argmax()]
    rows: NDArray[np.bool_] = clouds.index == chosen
    arrays = {name: getattr(clouds, name)[rows] for name in ("xyz", "index", "velocity", "color", "spacing")}
    return replace(clouds, **arrays)
