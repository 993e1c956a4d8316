"""What a camera that stays in place cannot see of Gaussians is taken away once they are trained: how far they reach along its rays.

Nothing in its images tells that extent, training leaves it to chance, and from the side needles that point at the camera hide the scene. A camera's
image of a Gaussian depends on its covariance across the ray alone (the Jacobian of the projection takes the ray to zero), so squeezing it along the
ray changes no image that was filmed. Nor does it tell how far those reach beyond its picture that lie at the rim; a few as large as the scene are
enough to hide it from the side, so none may be larger than a share of its distance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.geometry.rotations import matrix_to_quat, quat_to_matrix
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.scene import Layer, Scene


@dataclass(frozen=True)
class FlatToCamera:
    """Gaussians of a film of one camera that stood or turned reach no farther along its rays than across them, where they are narrowest.

    Attributes:
        largest: standard deviation as a share of the distance.
    """

    largest: float = 0.1

    def __call__(self, scene: Scene, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """`scene` with flatter Gaussians, or as it was."""
        views = np.flatnonzero(capture.train.any(axis=1))
        if capture.cameras not in ("rotation", "fixed") or len(views) != 1:
            return scene
        eye = capture.camera_at(*capture.train_frames()[0]).center
        return replace(scene, layers=[bounded(flattened(layer, eye), eye, self.largest) for layer in scene.layers])


def flattened(layer: Layer, eye: Tensor) -> Layer:
    """`layer` with Gaussians whose extent along the ray from `eye` (3,) is at most their smaller extent across it, where they are kept."""
    splats = layer.splats
    ray = torch.nn.functional.normalize(splats["means"].detach().double() - eye.to(splats["means"].device), dim=1)
    turn = quat_to_matrix(torch.nn.functional.normalize(splats["quat_wxyz"].detach().double(), dim=1))
    covariance = turn @ torch.diag_embed(splats["log_scale"].detach().double().mul(2).exp()) @ turn.mT
    outer = ray[:, :, None] * ray[:, None]
    along = (covariance * outer).sum((1, 2))
    across = torch.eye(3).to(outer) - outer
    across = across @ covariance @ across
    total = across.diagonal(dim1=1, dim2=2).sum(1)
    product = (total.square() - across.square().sum((1, 2))) / 2  # of its two variances
    narrow = total / 2 - (total.square() / 4 - product).clamp_min(0).sqrt()
    share = (narrow.clamp_min(0) / along).sqrt()
    rows = share < 1
    if not rows.any():
        return layer
    squeeze = torch.eye(3).to(outer) - (1 - share[rows])[:, None, None] * outer[rows]
    variance, axes = torch.linalg.eigh(squeeze @ covariance[rows] @ squeeze)
    axes[:, :, 0] *= torch.linalg.det(axes)[:, None]  # right-handed
    new = {"log_scale": variance.clamp_min(1e-24).log() / 2, "quat_wxyz": matrix_to_quat(axes)}
    return replace(layer, splats=splats | {name: _with(splats[name], rows, value) for name, value in new.items()})


def bounded(layer: Layer, eye: Tensor, largest: float) -> Layer:
    """`layer` without standard deviations of more than the share `largest` of the distance from `eye` (3,)."""
    means, log_scale = layer.splats["means"].detach(), layer.splats["log_scale"].detach()
    distance = (means - eye.to(means)).norm(dim=1, keepdim=True)
    return replace(layer, splats=layer.splats | {"log_scale": torch.minimum(log_scale, (largest * distance).log())})


def _with(tensor: Tensor, rows: Tensor, value: Tensor) -> Tensor:
    result = tensor.detach().clone()
    result[rows] = value.to(result)
    return result
