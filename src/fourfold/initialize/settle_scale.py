"""The size of a mover against the still world, estimated again once the images have placed it.

One moving camera sees a mover equally well at any size s: scaled about each image's own camera centre, it looks the same in every
training image. Where the size had to be guessed from how little the mover moves, the first guess rests on image tracks; after the
movers have been fitted to the images their paths are better, and so is the guess.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Priors
from fourfold.recipes.recipe import Quality
from fourfold.scene.motion.se3_bases import SE3Bases
from fourfold.scene.scene import Layer, Scene


@dataclass(frozen=True)
class SettleScale:
    """Rescale the moving layer to the size at which its steps and its changes of velocity are smallest together.

    Only for a single camera, and only where every mover's size was chosen by a rule of little motion; sizes known from contact or
    from given depth stay.

    Attributes:
        layer: which layer.
        most: the largest factor up or down; a larger one means that the rule does not apply.
    """

    layer: str = "object"
    most: float = 1.25

    def __call__(self, scene: Scene, capture: Capture, priors: Priors, quality: Quality, random: np.random.Generator) -> Scene:
        """The scene with the layer rescaled in place, or as it was."""
        layers = [layer for layer in scene.layers if layer.name == self.layer and isinstance(layer.motion, SE3Bases)]
        if not layers or capture.train.any(axis=1).sum() != 1 or not _guessed_from_motion(priors):
            return scene
        layer = layers[0]
        centers = _camera_centers(capture, layer.fixed["knots"].cpu().numpy())
        factor = least_motion_scale(centers, _path(layer))
        if factor is not None and 1 / self.most <= factor <= self.most:
            rescale(layer, centers, factor)
        return scene


def least_motion_scale(camera: NDArray[np.float64], path: NDArray[np.float64]) -> float | None:
    """The factor s on `path - camera` (T, 3) that minimises the mover's steps and accelerations, each relative to the camera's own.

    minimise sum |dC + s dd|^2 / sum |dC|^2 + sum |ddC + s ddd|^2 / sum |ddC|^2 with d = path - camera: a closed form (spec
    calibration.md A, there with the first term alone). None where the camera does not move enough to tell.
    """
    if len(camera) < 4:
        return None
    offset = path - camera
    above, below = 0.0, 0.0
    for order in (1, 2):
        moved, apart = np.diff(camera, order, axis=0), np.diff(offset, order, axis=0)
        own = float((moved**2).sum())
        if own <= 1e-12 * float((offset**2).sum()):
            return None
        above -= float((moved * apart).sum()) / own
        below += float((apart**2).sum()) / own
    return above / below if below > 0 and above > 0 else None


def rescale(layer: Layer, centers: NDArray[np.float64], factor: float) -> None:
    """Scale `layer` (SE(3) bases) by `factor` about the camera centre of each knot; every image taken from there stays the same.

    With x_t = R (x - p) + p + tau: means become p + s (x - p) and translations s (p + tau) + (1 - s) C - p.
    """
    pivot, shared, splats = layer.fixed["pivot"], layer.shared, layer.splats
    center = torch.as_tensor(centers, dtype=pivot.dtype, device=pivot.device)
    with torch.no_grad():
        splats["means"] = pivot + factor * (splats["means"] - pivot)
        splats["log_scale"] = splats["log_scale"] + math.log(factor)
        shared["translation"] = factor * (pivot + shared["translation"]) + (1 - factor) * center - pivot


def _guessed_from_motion(priors: Priors) -> bool:
    figures = {} if priors.tracks3d is None else priors.tracks3d.provenance.figures
    winners = [str(value.get("scale", {}).get("winner", "")) for name, value in figures.items() if name.startswith("mover_")]
    return bool(winners) and all(winner.startswith("minimal_") for winner in winners)


def _camera_centers(capture: Capture, knots: NDArray[np.floating]) -> NDArray[np.float64]:
    view = int(np.flatnonzero(capture.train.any(axis=1))[0])
    index = np.abs(capture.timestamps[None] - knots[:, None]).argmin(axis=1)
    pose = capture.world_to_camera[view, index]
    return -np.einsum("tji,tj->ti", pose[:, :3, :3], pose[:, :3, 3])


def _path(layer: Layer) -> NDArray[np.float64]:
    """(T, 3) opacity-weighted middle of the layer at its knots."""
    with torch.no_grad():
        weight = torch.sigmoid(layer.splats["opacity_logit"])
        moved = layer.motion.at(layer, layer.fixed["knots"])
        return torch.stack([(g.means * weight[:, None]).sum(0) / weight.sum() for g in moved]).cpu().numpy().astype(np.float64)
