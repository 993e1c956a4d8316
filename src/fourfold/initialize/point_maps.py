"""The cameras' fused coloured point maps as a scene, nothing learned: the point-map baseline of spec monofusion.md section 10."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from fourfold.capture.capture import Capture
from fourfold.initialize.background import BackgroundNumbers, static_layer
from fourfold.initialize.monofusion_points import SeenPoints, foreground_points
from fourfold.initialize.splats import make_splats
from fourfold.initialize.static_scene import scene_of
from fourfold.priors.contracts import Depth, Masks, Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.linear import Linear
from fourfold.scene.scene import DYNAMIC, Layer, Scene


@dataclass(frozen=True)
class PointMapScene:
    """A static cloud, and at each moment the cloud of that moment's moving pixels, which is gone at the next: no times between.

    Attributes:
        count: moving points of one moment at quality "normal"; sure: confidence of the depth that they need.
        size: standard deviation of a point in pixels of its image; opacity: of all points.
        life: standard deviation of a cloud's life in units of the shortest time between moments.
    """

    background: BackgroundNumbers = BackgroundNumbers(count=60_000, frames=40, opacity=0.9)
    count: int = 8_000
    sure: float = 0.25
    size: float = 0.6
    opacity: float = 0.9
    life: float = 0.2

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The scene. FourfoldError without the priors "masks" and "depth"."""
        priors.require(Masks)
        priors.require(Depth)
        scene = scene_of([static_layer(capture, priors, quality, random, self.background)], capture, priors)
        wanted = max(100, round(self.count * quality.gaussians))
        clouds: list[tuple[int, SeenPoints]] = []
        for index in np.flatnonzero(capture.train.any(axis=0)):
            found = foreground_points(capture, priors, int(index), self.sure, wanted, random)
            if found is not None:
                clouds.append((int(index), found))
        if clouds:
            scene.layers.append(self._layer(clouds, capture))
        return scene

    def _layer(self, clouds: list[tuple[int, SeenPoints]], capture: Capture) -> Layer:
        xyz, color, footprint = (np.concatenate([getattr(cloud, key) for _, cloud in clouds]) for key in ("xyz", "color", "footprint"))
        moment = np.concatenate([np.full(len(cloud.xyz), capture.timestamps[t]) for t, cloud in clouds])
        gap = float(np.diff(capture.timestamps).min()) if capture.times > 1 else 1.0
        splats = make_splats(xyz, color, self.size * footprint, self.opacity)
        splats["velocity"] = torch.zeros(len(xyz), 3)
        splats["time_center"] = torch.from_numpy(moment.astype(np.float32))
        splats["log_duration"] = torch.full((len(xyz),), float(np.log(self.life * gap)))
        return Layer("free", DYNAMIC, Linear(), splats)
