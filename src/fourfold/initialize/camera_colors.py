"""Room for the cameras' own colours: a layer without Gaussians that holds one gain and offset per camera and channel."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import STATIC, Layer, Scene

CAMERAS = "cameras"
"""Name of the layer."""


@dataclass(frozen=True)
class AddCameraColors:
    """Adds the layer "cameras" unless it is there, or there is only one training camera, whose colours are the scene's.

    Shared: `log_gain` (V, 3) and `offset` (V, 3), zero at the start; fixed: `trained` (V,) 1.0 for cameras with training images.
    Nothing is drawn with it: `losses.camera_colors` reads it, evaluation and export do not.
    """

    def __call__(self, scene: Scene, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The scene with room for the cameras' colours."""
        trained = torch.from_numpy(capture.train.any(axis=1).astype(np.float32))
        if any(layer.name == CAMERAS for layer in scene.layers) or int(trained.sum()) < 2:
            return scene
        none = {
            "means": torch.zeros(0, 3),
            "quat_wxyz": torch.zeros(0, 4),
            "log_scale": torch.zeros(0, 3),
            "opacity_logit": torch.zeros(0),
            "color_logit": torch.zeros(0, 3),
        }
        zero = torch.zeros(capture.views, 3)
        layer = Layer(CAMERAS, STATIC, Static(), none, {"log_gain": zero, "offset": zero.clone()}, {"trained": trained})
        return replace(scene, layers=[*scene.layers, layer])
