"""Who is whose neighbour, fixed when growth is over: Dynamic 3D Gaussians (spec baselines.md 4)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial import cKDTree

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.scene import Layer, Scene


@dataclass(frozen=True)
class FixNeighbours:
    """Gives layers their `count` nearest neighbours at the first moment and the weights exp(-(distance / reach)^2).

    Attributes:
        reach: in metres; where the unit is not known, or points are sparse, at least twice the median distance to the nearest neighbour.
    """

    layer: str = "free"
    count: int = 20
    reach: float = 0.0224  # the paper's exp(-2000 d^2)

    def __call__(self, scene: Scene, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The scene whose layer has the fixed `neighbours` and `neighbour_weight`."""
        return replace(
            scene, layers=[self._joined(layer, scene.scale) if layer.name == self.layer and len(layer) > 1 else layer for layer in scene.layers]
        )

    def _joined(self, layer: Layer, scale: float | None) -> Layer:
        points = layer.splats["means"].detach().cpu().numpy().astype(np.float64)
        wanted = min(self.count, len(points) - 1)
        distance, index = cKDTree(points).query(points, k=wanted + 1)
        reach = max(self.reach / scale if scale else 0.0, 2 * float(np.median(distance[:, 1])), 1e-9)
        device = layer.splats["means"].device
        near = torch.from_numpy(np.ascontiguousarray(index[:, 1:])).to(device)
        weight = torch.from_numpy(np.exp(-((distance[:, 1:] / reach) ** 2)).astype(np.float32)).to(device)
        return replace(layer, fixed={**layer.fixed, "neighbours": near, "neighbour_weight": weight})
