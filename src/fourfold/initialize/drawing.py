"""Drawing a scene for initialisation: colour, alpha and depth as arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.render.api import rasterize
from fourfold.scene.scene import Scene


@dataclass(frozen=True)
class Picture:
    """color (H, W, 3) clamped to [0, 1], alpha (H, W), depth (H, W) expected depth, 0 where nothing was drawn."""

    color: NDArray[np.float32]
    alpha: NDArray[np.float32]
    depth: NDArray[np.float32]


@torch.no_grad()
def picture(scene: Scene, capture: Capture, view: int, index: int) -> Picture:
    """`scene` as the camera of `view` sees it at time `index`."""
    gaussians = scene.at(float(capture.timestamps[index])).detach()
    camera = replace(capture.camera_at(view, index), near=scene.near).to(gaussians.means.device)
    render = rasterize(gaussians, camera, background=gaussians.means.new_tensor(scene.background))
    return Picture(render.color.clamp(0, 1).cpu().numpy(), render.alpha.cpu().numpy(), render.depth.cpu().numpy())
