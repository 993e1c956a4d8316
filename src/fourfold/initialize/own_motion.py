"""What movers on shared bases become in Shape of Motion's ablations: motions of their own, bases that do not turn, bases that start at rest.

The paper's Table 4. All put every Gaussian where its bases have it as far as the new form can tell it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from fourfold.capture.capture import Capture
from fourfold.geometry.rotations import quat_normalize
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.keyframes import Keyframes
from fourfold.scene.motion.se3_bases import SE3Bases
from fourfold.scene.scene import Layer, Scene

LASTING = 1e3
"""Seconds of fading: what is moved is there at all times."""


@dataclass(frozen=True)
class OwnMotion:
    """Every Gaussian of a layer on shared bases gets a place of its own at each knot, and with `turning` a rotation too.

    Knots are as many as the bases have, evenly between the first and the last.
    """

    layer: str = "object"
    turning: bool = True

    def __call__(self, scene: Scene, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The scene with the layer's motion changed, or as it was without such a layer."""
        return replace(scene, layers=[self.changed(one) if on_bases(one, self.layer) else one for one in scene.layers])

    def changed(self, layer: Layer) -> Layer:
        """`layer` on keyframes."""
        old = layer.fixed["knots"]
        knots = torch.linspace(float(old[0]), float(old[-1]), len(old), dtype=old.dtype, device=old.device)
        with torch.no_grad():
            moved = layer.motion.at(layer, knots)
        means, count = layer.splats["means"], len(layer)
        quats = [g.quat_wxyz if self.turning else layer.splats["quat_wxyz"] for g in moved]
        splats = {name: value for name, value in layer.splats.items() if name != "motion_logits"} | {
            "shift_keys": torch.stack([g.means - means for g in moved], dim=1),
            "quat_keys": quat_normalize(torch.stack(quats, dim=1)),
            "time_on": means.new_full((count,), float(knots[0])),
            "time_off": means.new_full((count,), float(knots[-1])),
            "log_fade": means.new_full((count, 2), float(np.log(LASTING))),
        }
        return replace(layer, motion=Keyframes(), splats=splats, shared={}, fixed={"knots": knots})


@dataclass(frozen=True)
class RestartBases:
    """The bases of a layer start anew.

    Attributes:
        at: "rest": no basis moves, the coefficients stay; "translation": no basis turns, and each moves as the Gaussians that use it do on average.
    """

    at: Literal["rest", "translation"]
    layer: str = "object"

    def __call__(self, scene: Scene, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The scene with the layer's bases changed, or as it was without such a layer."""
        return replace(scene, layers=[self.changed(one) if on_bases(one, self.layer) else one for one in scene.layers])

    def changed(self, layer: Layer) -> Layer:
        """`layer` with new bases."""
        still = layer.shared["rotation6d"].new_tensor([1.0, 0, 0, 0, 1, 0]).expand_as(layer.shared["rotation6d"]).contiguous()
        shift = torch.zeros_like(layer.shared["translation"])
        if self.at == "translation":
            with torch.no_grad():
                shares = torch.softmax(layer.splats["motion_logits"], dim=1)
                moved = layer.means_at(layer.fixed["knots"]) - layer.splats["means"]
            shift = torch.einsum("nb,knc->bkc", shares / shares.sum(0).clamp_min(1e-9), moved).contiguous()
        return replace(layer, shared=layer.shared | {"rotation6d": still, "translation": shift})


def on_bases(layer: Layer, name: str) -> bool:
    """Whether `layer` has this name and moves on shared bases."""
    return layer.name == name and isinstance(layer.motion, SE3Bases)
