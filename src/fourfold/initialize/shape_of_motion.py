"""Initialisation of Shape of Motion: a static background and moving objects on shared bases (spec shape_of_motion.md sections 4 to 6)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.initialize.background import BackgroundNumbers, static_layer
from fourfold.initialize.object_layer import ObjectNumbers, object_layer
from fourfold.initialize.static_scene import scene_with_movers
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.scene import Scene


@dataclass(frozen=True)
class BackgroundAndObject:
    """Layers "static" and "object"; without tracks of movers the static one alone."""

    background: BackgroundNumbers = BackgroundNumbers()
    object: ObjectNumbers = ObjectNumbers()

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The initial scene, in the capture's world coordinates."""
        still, moving = random.spawn(2)
        background = static_layer(capture, priors, quality, still, self.background)
        movers = object_layer(capture, priors, quality, moving, self.object)
        return scene_with_movers(background, movers, "no 3D tracks of a moving object were found", capture, priors)
