"""Room for colours that change with the direction of view."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatch

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.scene import Layer, Scene


@dataclass(frozen=True)
class AddHarmonics:
    """Gives the Gaussians of some layers spherical harmonics of up to `degree`, all zero: what is drawn stays the same.

    Attributes:
        layers: pattern (fnmatch) of the layers' names; those that have harmonics already, or no Gaussians, stay as they are.
    """

    degree: int = 3
    layers: str = "*"

    def __call__(self, scene: Scene, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The scene with harmonics."""
        return replace(scene, layers=[self._of(layer) for layer in scene.layers])

    def _of(self, layer: Layer) -> Layer:
        if not len(layer) or "sh_rest" in layer.splats or not fnmatch(layer.name, self.layers):
            return layer
        zero = layer.splats["means"].new_zeros(len(layer), (self.degree + 1) ** 2 - 1, 3)
        return replace(layer, splats=layer.splats | {"sh_rest": zero})
