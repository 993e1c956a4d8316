"""Time of a scene: stopped at a moment, or running at another speed by the motion models themselves."""

from __future__ import annotations

from dataclasses import fields, replace

import torch

from fourfold.errors import FourfoldError
from fourfold.scene.edits.rows import kept
from fourfold.scene.motion.retimed import Retimed
from fourfold.scene.motion.static import Static
from fourfold.scene.scene import Layer, Scene

LEAST = 1e-4  # opacity below which nothing is there


def frozen(scene: Scene, time: float) -> Scene:
    """The scene as it is at `time`, seconds, standing still; layers and roles stay. FourfoldError outside the recording."""
    begin, end = scene.time_range
    if not begin <= time <= end:
        raise FourfoldError(f"the scene cannot be stopped at {time:g} s: it goes from {begin:g} to {end:g} s")
    with torch.no_grad():
        now = scene.at(time).detach()
    layers: list[Layer] = []
    for layer, place in zip(scene.layers, scene.slices().values(), strict=True):
        color = now.color[place].clamp(1e-6, 1 - 1e-6)
        opacity = torch.logit(now.opacity[place].clamp(1e-6, 1 - 1e-6))
        splats = {"means": now.means[place], "quat_wxyz": now.quat_wxyz[place], "log_scale": now.log_scale[place]}
        splats |= {"opacity_logit": opacity, "color_logit": torch.logit(color)}
        splats |= {} if now.sh_rest is None else {"sh_rest": now.sh_rest[place]}
        layers.append(Layer(layer.name, layer.role, Static(), splats))
    return kept(replace(scene, layers=layers), now.opacity.cpu() >= LEAST)


def retimed(scene: Scene, speed: float) -> Scene:
    """The scene `speed` times as fast (0.5 is slow motion): what lies between the frames is what its motion models say, nothing is repeated."""
    if not speed > 0:
        raise FourfoldError(f"got the speed {speed:g}: expected more than 0, 0.5 for half as fast")
    begin, end = scene.time_range
    layers: list[Layer] = []
    for layer in scene.layers:
        motion = layer.motion
        if isinstance(motion, Static):
            layers.append(layer)
            continue
        if isinstance(motion, Retimed):
            layers.append(
                replace(
                    layer, motion=replace(motion, speed=motion.speed * speed, begin=begin, start=motion.start + motion.speed * (begin - motion.begin))
                )
            )
            continue
        numbers = tuple((f.name, getattr(motion, f.name)) for f in fields(motion))  # type: ignore[arg-type]
        layers.append(replace(layer, motion=Retimed(motion.kind, numbers, speed, begin, begin)))
    return replace(scene, layers=layers, time_range=(begin, begin + (end - begin) / speed))
