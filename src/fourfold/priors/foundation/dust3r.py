"""DUSt3R, MonST3R and MASt3R: point maps of image pairs.

Repositories naver/dust3r 4c24a6e (2025-07-01), Junyi42/monst3r 574cc77 (2025-06-16) and naver/mast3r f5209af (2025-06-30); code and weights
CC-BY-NC-SA-4.0, not for commercial use. MonST3R is DUSt3R's network trained on moving scenes, so either repository's code reads its weights.
Each image is looked at together with a partner, in whose pair it comes first: then its points are in its own camera's axes. Only their depth
is used, on the rays of the capture's cameras, and brought to their scale; confidence c >= 1 of the network becomes 1 - 1 / c.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Depth, PointMaps, Priors
from fourfold.priors.foundation.checkout import research_module
from fourfold.priors.foundation.depth_scale import ViewDepth, in_scene_units
from fourfold.priors.foundation.image_pairs import Cut, cut, partners
from fourfold.priors.foundation.video import device_here
from fourfold.priors.foundation.weights import missing, require
from fourfold.priors.providers import Provider

APART = 3
"""Moments between the two images of a pair of one camera: enough to move, little enough to look alike."""


def load_network(name: str) -> Any:
    """The network `name`, one of "dust3r", "monst3r" and "mast3r", from the folder with its config.json."""
    folder = str(require(name))
    if name == "mast3r":
        module: Any = research_module("mast3r.model", "models", "dust3r")
        network = module.AsymmetricMASt3R.from_pretrained(folder, local_files_only=True)
    else:
        module = research_module("dust3r.model", "models", "dust3r")
        network = module.AsymmetricCroCo3DStereo.from_pretrained(folder, local_files_only=True)
    return network.to(device_here()).eval()


@torch.no_grad()
def look(network: Any, first: Cut, second: Cut) -> tuple[dict[str, Any], dict[str, Any]]:
    """The network's predictions for a pair."""
    return network(first.view, second.view)


def pair_depth(network: Any, first: Cut, second: Cut, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Depth (H, W), 0 in the margin that was cropped away, and confidence (H, W) of the first image of a pair."""
    seen, _ = look(network, first, second)
    depth, sure = seen["pts3d"][0, ..., 2].float().cpu().numpy(), seen["conf"][0].float().cpu().numpy()
    x = ((np.arange(width) + 0.5 - first.origin[0]) / first.step[0] - 0.5).astype(np.float32)
    y = ((np.arange(height) + 0.5 - first.origin[1]) / first.step[1] - 0.5).astype(np.float32)
    grid = np.broadcast_to(x, (height, width)).copy(), np.broadcast_to(y[:, None], (height, width)).copy()
    inside = (grid[0] >= -0.5) & (grid[0] <= first.size[1] - 0.5) & (grid[1] >= -0.5) & (grid[1] <= first.size[0] - 0.5)
    depth, sure = (cv2.remap(values, *grid, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for values in (depth, sure))
    good = inside & (depth > 0) & np.isfinite(depth)
    return np.where(good, depth, 0).astype(np.float32), np.where(good, 1 - 1 / np.maximum(sure, 1), 0).astype(np.float32)


def estimate(capture: Capture, priors: Priors, name: str) -> list[Depth | PointMaps]:
    """Depth and point maps of every view by the network `name`, on the scale of the cameras."""
    network = load_network(name)
    shapes = [(capture.times, int(h), int(w)) for w, h in capture.sizes]
    views = [ViewDepth(np.zeros(s, np.float32), np.zeros(s, np.float32)) for s in shapes]
    for (view, time), (other, then) in partners(capture, APART):
        found = pair_depth(network, cut(capture.image(view, time)), cut(capture.image(other, then)), *shapes[view][1:])
        views[view].depth[time], views[view].confidence[time] = found
    return list(in_scene_units(capture, priors, views, name, metric=name == "mast3r"))


def pointmap_provider(name: str, rank: int) -> Provider:
    """The provider of depth and point maps by the network `name`."""

    def make(capture: Capture, priors: Priors) -> list[Depth | PointMaps]:
        return estimate(capture, priors, name)

    return Provider(name, ("depth", "pointmaps"), ("masks", "cameras"), rank, lambda _: missing(name), make)


PROVIDERS = (pointmap_provider("dust3r", 28),)
