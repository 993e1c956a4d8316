"""Two scenes in one."""

from __future__ import annotations

import math
from dataclasses import replace

from fourfold.errors import FourfoldError
from fourfold.scene.scene import Layer, Scene


def joined(one: Scene, two: Scene) -> Scene:
    """Both scenes in the world of the first; layers of the second whose names are taken get a number.

    FourfoldError where both know how large a unit is and do not agree: one of them would have to be scaled first.
    """
    if one.scale is not None and two.scale is not None and not math.isclose(one.scale, two.scale, rel_tol=1e-3):
        raise FourfoldError(f"one unit is {one.scale:g} m in the first scene and {two.scale:g} m in the second: train both in the same world")
    layers: list[Layer] = list(one.layers)
    for layer in two.layers:
        taken, number = {y.name for y in layers}, 2
        name = layer.name
        while name in taken:
            name, number = f"{layer.name} {number}", number + 1
        layers.append(replace(layer, name=name))
    span = min(one.time_range[0], two.time_range[0]), max(one.time_range[1], two.time_range[1])
    return replace(one, layers=layers, time_range=span, scale=one.scale if one.scale is not None else two.scale, near=min(one.near, two.near))
