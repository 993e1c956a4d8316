"""Background that no training image shows, behind a mover: filled smoothly and frozen."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from fourfold.capture.capture import Capture
from fourfold.initialize.drawing import picture
from fourfold.initialize.frames import read_frame, reference_frames
from fourfold.initialize.splats import make_splats
from fourfold.priors.contracts import Priors
from fourfold.priors.depth.fill import pull_push
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import STATIC, Layer, Scene


@dataclass(frozen=True)
class FillHoles:
    """Adds a static layer where the static scene leaves holes behind movers. No rate should match its name: it stays as it is.

    Attributes:
        frames: images that are looked at; later ones see what earlier ones filled.
        empty, solid: alpha below which a moving pixel is a hole, and above which a pixel may lend its depth and colour.
        fewest: a smaller hole, in pixels, is left alone.
        share: of the hole's pixels that get a Gaussian; spread: their standard deviation in pixels (1.8 for a sixth: calibration A).
        opacity: of the fill.

    Source: spec calibration.md A, "unseen regions: harmonic fill, frozen".
    """

    static: str = "static"
    name: str = "hole"
    frames: int = 6
    empty: float = 0.5
    solid: float = 0.95
    fewest: int = 50
    share: float = 1 / 6
    spread: float = 1.8
    opacity: float = 0.9

    def __call__(self, scene: Scene, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """`scene` with the layer of fillings, or as it was if there is no hole."""
        if all(layer.name != self.static for layer in scene.layers):
            return scene
        still = replace(scene, layers=[scene.layer(self.static)])
        parts: list[dict[str, torch.Tensor]] = []
        for view, index in reference_frames(capture, self.frames):
            frame = read_frame(capture, priors, view, index)
            seen = picture(still, capture, view, index)
            row, column = np.nonzero((seen.alpha < self.empty) & ~frame.still)
            known = (seen.alpha > self.solid) & frame.still
            if len(row) < self.fewest or not known.any():
                continue
            pick = random.choice(len(row), max(1, round(len(row) * self.share)), replace=False)
            row, column = row[pick], column[pick]
            inverse = pull_push(1.0 / np.maximum(seen.depth, 1e-9), known)
            depth = 1.0 / np.maximum(inverse[row, column], 1e-9)
            color = np.stack([pull_push(seen.color[..., c], known)[row, column] for c in range(3)], axis=1)
            scale = self.spread * depth / frame.K[0, 0]
            parts.append(make_splats(frame.unproject(row, column, depth), color, scale, self.opacity))
            still = replace(still, layers=[still.layers[0], _layer(self.name, parts, scene)])
        if not parts:
            return scene
        return replace(scene, layers=[*(layer for layer in scene.layers if layer.name != self.name), _layer(self.name, parts, scene)])


def _layer(name: str, parts: list[dict[str, torch.Tensor]], scene: Scene) -> Layer:
    like = scene.layers[0].splats["means"]
    return Layer(name, STATIC, Static(), {key: torch.cat([part[key] for part in parts]).to(like.device) for key in parts[0]})
