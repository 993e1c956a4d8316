"""Cameras of a scene that was made slower or faster."""

from __future__ import annotations

from dataclasses import replace

from fourfold.capture.capture import Capture
from fourfold.scene.motion.retimed import Retimed
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import Scene


def at_speed_of(scene: Scene, capture: Capture) -> Capture:
    """`capture` with its moments where `scene` shows them: where all that moves was retimed alike, cameras keep to it; else as it is."""
    moving = [layer.motion for layer in scene.layers if not isinstance(layer.motion, Static)]
    paces = {(motion.speed, motion.begin, motion.start) if isinstance(motion, Retimed) else None for motion in moving}
    pace = paces.pop() if len(paces) == 1 else None
    if pace is None:
        return capture
    speed, begin, start = pace
    return replace(capture, timestamps=begin + (capture.timestamps - start) / speed)
