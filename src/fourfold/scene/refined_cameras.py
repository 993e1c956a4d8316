"""Cameras refined while images are fitted: each training image sees the scene turned and shifted a little, which is learned.

Moving the scene before a camera is moving the camera the other way, so that no rasterizer needs gradients of cameras. Turns and shifts are taken
relative to their mean over the training images: the scene as a whole stays where held-out cameras look for it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.rotations import quat_multiply, quat_rotate
from fourfold.scene.scene import Layer, Scene

POSES = "poses"
"""Name of the layer without Gaussians that holds them (`initialize.camera_poses`)."""


def as_seen(scene: Scene, gaussians: Gaussians, view: int, index: int) -> Gaussians:
    """`gaussians` of the scene as the refined camera of image (view, index) sees them from where the given camera stands.

    The camera turns about its own place. Harmonics keep their axes: the turns are small. The same object where nothing is refined.
    """
    layer = next((layer for layer in scene.layers if layer.name == POSES), None)
    if layer is None:
        return gaussians
    quat, shift = _relative(layer, view, index)
    centre = layer.fixed["centre"][view, index].to(gaussians.means)
    turned = quat_rotate(quat.expand(len(gaussians.means), 4), gaussians.means - centre) + centre + shift
    return replace(gaussians, means=turned, quat_wxyz=quat_multiply(quat.expand_as(gaussians.quat_wxyz), gaussians.quat_wxyz))


def _relative(layer: Layer, view: int, index: int) -> tuple[Tensor, Tensor]:
    """Unit quaternion (4,) and shift (3,) of an image, less the mean over the training images."""
    weight = layer.fixed["trained"][..., None] / layer.fixed["trained"].sum()
    turn, shift = (layer.shared[name][view, index] - (layer.shared[name] * weight).sum((0, 1)) for name in ("turn", "shift"))
    half = 0.5 * turn
    angle = (half.square().sum() + 1e-20).sqrt()
    return torch.cat([angle.cos()[None], half * (angle.sin() / angle)]), shift
