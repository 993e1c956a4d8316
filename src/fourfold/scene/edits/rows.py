"""Fewer Gaussians: the rows of a scene that stay, whatever moves them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fourfold.errors import FourfoldError
from fourfold.scene.scene import Layer, Scene


def kept(scene: Scene, rows: Tensor) -> Scene:
    """`scene` with the Gaussians of `rows` (N,) bool alone; layers that lose all of theirs go.

    A motion model whose numbers count Gaussians has `kept(rows) -> Motion`. FourfoldError if nothing would be left.
    """
    if not bool(rows.any()):
        raise FourfoldError("this edit would leave nothing of the scene: choose a larger part of it")
    layers = [_kept(layer, rows[place]) for layer, place in zip(scene.layers, scene.slices().values(), strict=True)]
    return replace(scene, layers=[layer for layer in layers if len(layer)])


def _kept(layer: Layer, rows: Tensor) -> Layer:
    told = getattr(layer.motion, "kept", None)
    motion = layer.motion if told is None else told(rows)
    rows = rows.to(layer.splats["means"].device)
    return replace(layer, motion=motion, splats={name: value[rows] for name, value in layer.splats.items()})


def moments(scene: Scene, count: int = 5) -> Tensor:
    """(count,) seconds evenly over the recording."""
    return torch.linspace(*scene.time_range, count, dtype=torch.float64)
