"""What was taken for moving and stands still gets a chance to be static, and all a chance to fade: MoSca's control (spec mosca.md section 9)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.bounded import BoundedStatic
from fourfold.scene.scene import DYNAMIC, Layer, Scene

LEAST_GAP = 1e-4
"""How far below its bound a logarithm of a standard deviation stays, so that the bound can be undone."""


@dataclass(frozen=True)
class CopyToStatic:
    """Copies the dynamic Gaussians, as they are at a training moment drawn at random, into the layer "static".

    Where they stood still the copies serve as well as they do, from every image; elsewhere images of other moments make the copies fade, and
    density control removes them. As released: all of them are copied, none is taken away.
    """

    def __call__(self, scene: Scene, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The scene with the copies; as it is where nothing moves or nothing is static."""
        index = int(random.choice(np.flatnonzero(capture.train.any(axis=0))))
        movers = [layer for layer in scene.layers if layer.role == DYNAMIC and len(layer)]
        if not movers or all(layer.name != "static" for layer in scene.layers):
            return scene
        static = scene.layer("static")
        parts = [static.splats, *(_standing(layer, float(capture.timestamps[index]), static) for layer in movers)]
        joined = {name: torch.cat([part[name] for part in parts]) for name in static.splats}
        return replace(scene, layers=[replace(layer, splats=joined) if layer is static else layer for layer in scene.layers])


@torch.no_grad()
def _standing(layer: Layer, time: float, static: Layer) -> dict[str, Tensor]:
    """The splats of the static layer's kind that draw what `layer` shows at `time`, seconds; harmonics of a layer that has none are zero."""
    moved = layer.motion.at(layer, layer.splats["means"].new_tensor([time]))[0]
    log_scale = moved.log_scale
    if isinstance(static.motion, BoundedStatic) and static.motion.largest > 0:
        bound = math.log(static.motion.largest)
        log_scale = bound - torch.log(torch.expm1((bound - log_scale).clamp_min(LEAST_GAP)))
    own = layer.splats | {"means": moved.means, "quat_wxyz": moved.quat_wxyz, "log_scale": log_scale}
    return {name: own[name].detach() if name in own else value.new_zeros(len(layer), *value.shape[1:]) for name, value in static.splats.items()}


@dataclass(frozen=True)
class ResetOpacity:
    """Lowers all opacities to `highest` at most, as density control does within a stage (3D Gaussian splatting, section 5.2)."""

    highest: float = 0.01

    def __call__(self, scene: Scene, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The scene, fainter."""
        limit = math.log(self.highest / (1 - self.highest))
        faint = [replace(layer, splats=layer.splats | {"opacity_logit": layer.splats["opacity_logit"].clamp_max(limit)}) for layer in scene.layers]
        return replace(scene, layers=faint)
