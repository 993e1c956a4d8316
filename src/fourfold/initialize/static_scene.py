"""A scene that stands still: the start of the static baseline, and of every scene without movers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.initialize.background import BackgroundNumbers, nearest_depth, static_layer
from fourfold.initialize.frames import read_frame, reference_frames
from fourfold.notices import fallback
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.scene import Layer, Scene


@dataclass(frozen=True)
class StaticScene:
    """One static layer called "static"."""

    background: BackgroundNumbers = BackgroundNumbers()

    def __call__(self, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The initial scene, in the capture's world coordinates."""
        layer = static_layer(capture, priors, quality, random, self.background)
        if len(layer) == 0:  # an object before nothing: it is what stands still
            layer = static_layer(capture, replace(priors, masks=None), quality, random, self.background)
        return scene_of([layer], capture, priors)


def scene_with_movers(still: Layer, movers: Layer | None, missing: str, capture: Capture, priors: Priors) -> Scene:
    """A scene of a static layer and, where there is one, a layer of movers; where there is none, what is `missing` is said."""
    if movers is None:
        fallback(f"{missing}: the scene starts without an object layer")
    return scene_of([still] if movers is None else [still, movers], capture, priors)


def scene_of(layers: list[Layer], capture: Capture, priors: Priors) -> Scene:
    """A scene of `layers` (the first one static) with the capture's time range, upward direction, unit and near plane."""
    frames = reference_frames(capture, 14)
    down = np.mean([capture.world_to_camera[view, index][1, :3] for view, index in frames], axis=0)
    up = -down / max(float(np.linalg.norm(down)), 1e-9)
    return Scene(
        layers=layers,
        time_range=(float(capture.timestamps[0]), float(capture.timestamps[-1])),
        scale=1.0 if capture.metric else None,
        up=(float(up[0]), float(up[1]), float(up[2])),
        near=nearest_depth([read_frame(capture, priors, view, index) for view, index in frames], layers[0]),
    )
