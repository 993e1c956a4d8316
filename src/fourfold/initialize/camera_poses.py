"""Room for what images say of their cameras' poses: MoSca refines them by the photometric loss (spec mosca.md section 9)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.static import Static
from fourfold.scene.refined_cameras import POSES
from fourfold.scene.scene import STATIC, Layer, Scene


@dataclass(frozen=True)
class AddCameraPoses:
    """Adds the layer "poses" unless it is there. Shared: `turn` (V, T, 3) rotation vectors and `shift` (V, T, 3) scene units, zero at the start;
    fixed: `trained` (V, T) 1.0 for training images and `centre` (V, T, 3) the cameras' places.

    Nothing is drawn with it: `scene.refined_cameras` reads it where training images are drawn, evaluation and export do not.
    """

    def __call__(self, scene: Scene, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The scene with room for them."""
        if any(layer.name == POSES for layer in scene.layers):
            return scene
        none = {"means": torch.zeros(0, 3), "quat_wxyz": torch.zeros(0, 4), "log_scale": torch.zeros(0, 3)}
        none |= {"opacity_logit": torch.zeros(0), "color_logit": torch.zeros(0, 3)}
        pose = np.nan_to_num(capture.world_to_camera)
        centre = torch.from_numpy(-np.einsum("vtji,vtj->vti", pose[..., :3, :3], pose[..., :3, 3])).float()
        zero = torch.zeros(capture.views, capture.times, 3)
        fixed = {"trained": torch.from_numpy(capture.train).float(), "centre": centre}
        return replace(scene, layers=[*scene.layers, Layer(POSES, STATIC, Static(), none, {"turn": zero, "shift": zero.clone()}, fixed)])
