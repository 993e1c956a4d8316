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
from fourfold.priors.foundation.video import device_here
from fourfold.priors.foundation.weights import first_here, missing, require
from fourfold.priors.providers import Provider

TOGETHER = ("depth-anything-3-large", "depth-anything-3-base", "depth-anything-3-small")
ALONE = "depth-anything-3-metric"
FOCAL = 300.0
BATCH = 16
"""Images that are looked at together; more are steadier and need more memory."""
Image = tuple[int, int]
"""(view, time index)"""


def all_depths(network: Any, capture: Capture, metric: bool) -> list[ViewDepth]:
    """Depth of the training frames of every view; of a metric network in metres, image by image, else in units of each batch's own."""
    shapes = [(capture.times, int(h), int(w)) for w, h in capture.sizes]
    made = [ViewDepth(np.zeros(s, np.float32), np.zeros(s, np.float32)) for s in shapes]
    together = batches(capture)
    for part in [[image] for batch in together for image in batch] if metric else together:
        out = _infer(network, capture, part, posed=not metric)
        for row, (view, time) in enumerate(part):
            depth, sure = made[view].depth, made[view].confidence
            height, width = depth.shape[1:]
            found = _enlarged(out.depth[row : row + 1], height, width)[0]
            if metric:
                ratio = max(out.depth.shape[1:]) / max(width, height)  # of its input's pixels to ours
                found = found * np.float32(capture.K[view, time, 0, 0] * ratio / FOCAL)
            depth[time] = np.where(np.isfinite(found) & (found > 0), found, 0)
            if out.sky is not None:
                sky = _enlarged(np.asarray(out.sky, np.float32)[row : row + 1], height, width)[0]
                depth[time] = np.where(sky > 0.5, 0, depth[time])
            sure[time] = 1 if out.conf is None else _share(_enlarged(out.conf[row : row + 1], height, width)[0])
            sure[time] *= depth[time] > 0
    return made


def batches(capture: Capture) -> list[list[Image]]:
    """Which images are looked at together: all cameras at as many moments as make a batch, or, where cameras differ in size, one camera's."""
    frames = [(v, t) for v, t in capture.train_frames() if capture.present[v, t]]
    views = sorted({v for v, _ in frames})
    alike = len({tuple(capture.sizes[v]) for v in views}) == 1
    found: list[list[Image]] = []
    for own in [views] if alike else [[v] for v in views]:
        times = sorted({t for v, t in frames if v in own})
        size = max(1, BATCH // len(own))
        for start in range(0, len(times), size):
            part = times[start : start + size]
            found.append([(v, t) for v, t in frames if v in own and t in part])
    return found


def _infer(network: Any, capture: Capture, images: list[Image], posed: bool) -> Any:
    """The package's `Prediction`; with poses where the cameras stand apart, as the network scales by the distances between them."""
    poses, K = (np.stack([values[image] for image in images]) for values in (capture.world_to_camera, capture.K))
    eyes = -np.einsum("tji,tj->ti", poses[:, :3, :3], poses[:, :3, 3])
    apart = len(images) > 2 and np.isfinite(poses).all() and float(np.ptp(eyes, axis=0).max()) > 1e-6
    given = {"extrinsics": poses.astype(np.float32), "intrinsics": K.astype(np.float32)} if posed and apart else {}
    return network.inference([np.asarray(capture.image(*image)) for image in images], **given)


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
    return list(in_scene_units(capture, priors, all_depths(network, capture, name == ALONE), name, metric=name == ALONE))


def _make(capture: Capture, priors: Priors) -> list[Depth | PointMaps]:
    return estimate(capture, priors, first_here(*TOGETHER, ALONE))


PROVIDERS = (Provider("depth-anything-3", ("depth", "pointmaps"), ("masks", "cameras"), 33, lambda _: missing(*TOGETHER, ALONE), _make),)
