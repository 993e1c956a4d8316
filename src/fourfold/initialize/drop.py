"""Taking away what only training needed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.scene import Scene


@dataclass(frozen=True)
class Drop:
    """Removes layers and splats by name; what is not there is not missed.

    Without the cameras' colours the scene shows the mean colours of the training cameras.
    """

    layers: tuple[str, ...] = ("cameras",)
    splats: tuple[str, ...] = ("watched_error",)

    def __call__(self, scene: Scene, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The scene without them."""
        kept = [layer for layer in scene.layers if layer.name not in self.layers]
        return replace(scene, layers=[replace(layer, splats={k: v for k, v in layer.splats.items() if k not in self.splats}) for layer in kept])
