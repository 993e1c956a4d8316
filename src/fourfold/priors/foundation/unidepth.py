"""UniDepth v2: metric depth of single images whose intrinsics are known.

Repository lpiccinelli-eth/UniDepth, commit 8d8cfe4 (2025-05-18); code and weights CC-BY-NC-4.0, not for commercial use. Its pixel centres
are ours. What it calls confidence is the error it expects of the logarithm of its depth, so exp(-error) is our confidence.
"""

from __future__ import annotations

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

NETWORKS = ("unidepth-v2-large", "unidepth-v2-small")


@torch.no_grad()
def view_depth(network: Any, capture: Capture, view: int) -> ViewDepth:
    """Metric depth of the training frames of `view`."""
    width, height = (int(n) for n in capture.sizes[view])
    depth, sure = (np.zeros((capture.times, height, width), np.float32) for _ in range(2))
    for time in training_times(capture, view):
        image = torch.from_numpy(np.array(capture.image(view, time))).permute(2, 0, 1)
        K = capture.K[view, time]
        camera = torch.from_numpy(K).float()[None] if np.isfinite(K).all() else None
        out = network.infer(image, camera)
        depth[time] = out["depth"][0, 0].float().cpu().numpy()
        sure[time] = torch.exp(-out["confidence"][0, 0].float().clamp_min(0)).cpu().numpy()
    return ViewDepth(depth, sure)


def estimate(capture: Capture, priors: Priors, name: str) -> list[Depth | PointMaps]:
    """Depth and point maps of every view by the network `name` of `NETWORKS`, on the scale of the cameras."""
    module: Any = research_module("unidepth.models")
    network = module.UniDepthV2.from_pretrained(str(require(name)), local_files_only=True).to(device_here()).eval()
    views = [view_depth(network, capture, view) for view in range(capture.views)]
    return list(in_scene_units(capture, priors, views, name, metric=True))


def _make(capture: Capture, priors: Priors) -> list[Depth | PointMaps]:
    return estimate(capture, priors, first_here(*NETWORKS))


PROVIDERS = (Provider("unidepth", ("depth", "pointmaps"), ("masks", "cameras"), 31, lambda _: missing(*NETWORKS), _make),)
