"""Depth Anything 3: depth of many images at once, consistent with the cameras they are given with; and of single images in metres.

Repository ByteDance-Seed/Depth-Anything-3, commit 2c21ea8 (2025-12-12), code Apache-2.0. Weights: small, base and metric Apache-2.0, large
CC-BY-NC-4.0 (not for commercial use). The metric network gives depth for a focal length of 300 pixels of its input. Results come at its own
resolution (a multiple of 14 pixels); pixel centres at +0.5 stay where they are when they are brought back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Depth, PointMaps, Priors
from fourfold.priors.foundation.checkout import research_module
from fourfold.priors.foundation.depth_scale import ViewDepth, in_scene_units
from fourfold.priors.foundation.video import device_here, frames_of, training_times
from fourfold.priors.foundation.weights import first_here, missing, require
from fourfold.priors.providers import Provider

TOGETHER = ("depth-anything-3-large", "depth-anything-3-base", "depth-anything-3-small")
ALONE = "depth-anything-3-metric"
FOCAL = 300.0
BATCH = 16
"""Images of a view that are looked at together; more are steadier and need more memory."""


def view_depth(network: Any, capture: Capture, view: int, metric: bool) -> ViewDepth:
    """Depth of the training frames of `view`; of a metric network in metres, else in units of each batch's own."""
    width, height = (int(n) for n in capture.sizes[view])
    depth, sure = (np.zeros((capture.times, height, width), np.float32) for _ in range(2))
    times = training_times(capture, view)
    size = 1 if metric else BATCH
    for part in (times[i : i + size] for i in range(0, len(times), size)):
        out = _infer(network, capture, view, part, posed=not metric)
        found = _enlarged(out.depth, height, width)
        if metric:
            ratio = max(out.depth.shape[1:]) / max(width, height)  # of its input's pixels to ours
            found = found * (capture.K[view, part][:, 0, 0] * ratio / FOCAL)[:, None, None].astype(np.float32)
        depth[part] = np.where(np.isfinite(found) & (found > 0), found, 0)
        sure[part] = 1 if out.conf is None else _share(_enlarged(out.conf, height, width))
        if out.sky is not None:
            depth[part] = np.where(_enlarged(np.asarray(out.sky, np.float32), height, width) > 0.5, 0, depth[part])
    return ViewDepth(depth, sure * (depth > 0))


def _infer(network: Any, capture: Capture, view: int, times: list[int], posed: bool) -> Any:
    """The package's `Prediction`; with poses where the camera moves, as the network scales by the distances between them."""
    poses, K = capture.world_to_camera[view, times], capture.K[view, times]
    eyes = -np.einsum("tji,tj->ti", poses[:, :3, :3], poses[:, :3, 3])
    moves = len(times) > 2 and np.isfinite(poses).all() and float(np.ptp(eyes, axis=0).max()) > 1e-6
    given = {"extrinsics": poses.astype(np.float32), "intrinsics": K.astype(np.float32)} if posed and moves else {}
    return network.inference(list(frames_of(capture, view, times)), **given)


def _enlarged(values: NDArray[np.floating], height: int, width: int) -> NDArray[np.float32]:
    tensor = torch.from_numpy(np.asarray(values, np.float32))[:, None]
    return F.interpolate(tensor, (height, width), mode="bilinear", align_corners=False)[:, 0].numpy()


def _share(confidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """Its confidence starts at 1 and has no upper end: 1 - 1 / confidence lies in [0, 1)."""
    return (1 - 1 / np.maximum(confidence, 1)).astype(np.float32)


def estimate(capture: Capture, priors: Priors, name: str) -> list[Depth | PointMaps]:
    """Depth and point maps of every view by the network `name`, on the scale of the cameras."""
    module: Any = research_module("depth_anything_3.api")
    network = module.DepthAnything3.from_pretrained(str(require(name)), local_files_only=True).to(device_here()).eval()
    views = [view_depth(network, capture, view, name == ALONE) for view in range(capture.views)]
    return list(in_scene_units(capture, priors, views, name, metric=name == ALONE))


def _make(capture: Capture, priors: Priors) -> list[Depth | PointMaps]:
    return estimate(capture, priors, first_here(*TOGETHER, ALONE))


PROVIDERS = (Provider("depth-anything-3", ("depth", "pointmaps"), ("masks", "cameras"), 33, lambda _: missing(*TOGETHER, ALONE), _make),)
