"""A scene as `.4dgs`: which temporal model holds it, and what the file lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.export.dot4dgs.birth import encode_birth, flying_parts, straightened_parts
from fourfold.export.dot4dgs.keyframes import encode_keyframes
from fourfold.export.dot4dgs.read import pieces_and_scene
from fourfold.export.dot4dgs.steps import position_bound, rounding_within, time_bound
from fourfold.export.packing import Held, PackingError, packing_error
from fourfold.files import replacing
from fourfold.geometry.gaussians import Gaussians
from fourfold.scene.scene import Scene


def write_4dgs(path: Path, scene: Scene, capture: Capture, times: NDArray[np.float64]) -> PackingError:
    """Write `scene` to `path`, atomically: `gaussian-birth` where all of it flies straight, otherwise `keyframe-delta` with states at `times`.

    Colours that depend on the direction are held by `gaussian-birth` only: such scenes are cut into straight pieces about `times`.
    """
    with replacing(Path(path)) as temporary:
        with torch.no_grad():
            parts = flying_parts(scene)
            if parts is None and any("sh_rest" in layer.splats for layer in scene.layers):
                parts = straightened_parts(scene, capture, times)
            with rounding_within(position_bound(scene, capture), time_bound(scene, capture)):
                data = encode_keyframes(scene, capture, times) if parts is None else encode_birth(scene, capture, parts)
        temporary.write_bytes(data)
        return packing_error(scene, capture, held_by(temporary))


def held_by(path: Path) -> Held:
    """What the file at `path` holds at a time, with rows of the scene that was written."""
    identities, scene = pieces_and_scene(path)
    rows = torch.from_numpy(np.concatenate(identities))

    def held(time: float) -> tuple[torch.Tensor, Gaussians]:
        with torch.no_grad():
            now = scene.at(time)
        there = now.opacity > 0
        return rows[there], now.select(there)

    return held
