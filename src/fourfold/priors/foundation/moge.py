"""MoGe-2: metric depth and point maps of single images whose field of view is known.

Repository microsoft/MoGe, commit 0744441 (2025-11-02), needs EasternJournalist/utils3d; code and weights MIT. It assumes a principal point in
the middle of the image; here only its depth is used, so that the point maps lie exactly on the rays of the capture's cameras. Its pixel
centres are ours. A pixel outside its mask (sky) has no depth; inside, confidence is 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Depth, PointMaps, Priors
from fourfold.priors.foundation.checkout import research_module
from fourfold.priors.foundation.depth_scale import ViewDepth, in_scene_units
from fourfold.priors.foundation.video import device_here, training_times
from fourfold.priors.foundation.weights import first_here, missing, require
from fourfold.priors.providers import Provider

NETWORKS = ("moge-2-large", "moge-2-small")


def view_depth(network: Any, capture: Capture, view: int) -> ViewDepth:
    """Metric depth of the training frames of `view`."""
    width, height = (int(n) for n in capture.sizes[view])
    depth = np.zeros((capture.times, height, width), np.float32)
    device = device_here()
    for time in training_times(capture, view):
        image = torch.from_numpy(np.array(capture.image(view, time))).permute(2, 0, 1).float().to(device) / 255
        focal = capture.K[view, time, 0, 0]
        angle = math.degrees(2 * math.atan(width / (2 * focal))) if np.isfinite(focal) else None
        out = network.infer(image, fov_x=angle, use_fp16=device.type == "cuda")
        found = out["depth"].float().cpu().numpy()
        depth[time] = np.where(np.isfinite(found) & (found > 0), found, 0)
    return ViewDepth(depth, (depth > 0).astype(np.float32))


def estimate(capture: Capture, priors: Priors, name: str) -> list[Depth | PointMaps]:
    """Depth and point maps of every view by the network `name` of `NETWORKS`, on the scale of the cameras."""
    module: Any = research_module("moge.model.v2")
    network = module.MoGeModel.from_pretrained(str(require(name))).to(device_here()).eval()
    views = [view_depth(network, capture, view) for view in range(capture.views)]
    return list(in_scene_units(capture, priors, views, name, metric=True))


def _make(capture: Capture, priors: Priors) -> list[Depth | PointMaps]:
    return estimate(capture, priors, first_here(*NETWORKS))


PROVIDERS = (Provider("moge", ("depth", "pointmaps"), ("masks", "cameras"), 32, lambda _: missing(*NETWORKS), _make),)
