"""Room for learned weights of a scaffold's nodes: MoSca's surface mode (spec mosca.md section 8)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.scaffold import Scaffold
from fourfold.scene.scene import Layer, Scene


@dataclass(frozen=True)
class LearnSkinning:
    """Gives each Gaussian on a scaffold the splat `skinning` (N, J), zero: one number per neighbour of its node, added to that one's weight.

    Nothing moves by that. From here on who is whose neighbour stays: density control leaves the nodes alone.
    """

    def __call__(self, scene: Scene, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The scene with room for them."""
        return replace(scene, layers=[_of(layer) for layer in scene.layers])


def _of(layer: Layer) -> Layer:
    if not isinstance(layer.motion, Scaffold) or "skinning" in layer.splats:
        return layer
    zero = layer.splats["means"].new_zeros(len(layer), layer.fixed["near"].shape[1])
    return replace(layer, splats=layer.splats | {"skinning": zero})
