"""Monocular disparity, and metric depth, by Depth Anything V2 (Yang et al. 2024, arXiv:2406.09414)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Depth, Disparity, Priors, Provenance
from fourfold.priors.foundation import weights
from fourfold.priors.foundation.hub_models import first_parameter, load_pretrained, pixels, size_for
from fourfold.priors.foundation.video import device_here, training_times
from fourfold.priors.frames_kept import KeptFrames
from fourfold.priors.providers import Provider

PATCH = 14
RELATIVE = ("depth-anything-v2-large", "depth-anything-v2-base", "depth-anything-v2-small")
METRIC = ("depth-anything-v2-metric-indoor-small", "depth-anything-v2-metric-outdoor-small")
Stacks = tuple[tuple[NDArray[np.floating[Any]], ...], tuple[NDArray[np.floating[Any]], ...]]


@dataclass(frozen=True)
class DepthAnythingConfig:
    """Numbers of the estimate. short_side: of the image the network sees, pixels; 518 is what it was trained on, time grows with the square."""

    short_side: int = 518


@torch.no_grad()
def estimate(model: Any, image: NDArray[np.uint8], config: DepthAnythingConfig = DepthAnythingConfig()) -> NDArray[np.float32]:
    """(H, W) raw output for an (H, W, 3) image: relative disparity, or depth in metres for a metric checkpoint."""
    height, width = image.shape[:2]
    given = pixels(image, size_for(height, width, config.short_side, PATCH), first_parameter(model))
    raw = model(pixel_values=given).predicted_depth
    return F.interpolate(raw[:, None], (height, width), mode="bilinear")[0, 0].float().cpu().numpy()


def disparity(capture: Capture, name: str, kept: KeptFrames = KeptFrames()) -> Disparity:
    """Relative disparity of all training frames by the model `name`; a metric model's depth is inverted."""
    shown = "depth-anything-v2-metric" if name in METRIC else "depth-anything-v2"
    return Disparity(Provenance(shown, needs_weights=True, figures={"model": name}), *_all_frames(capture, name, name in METRIC, kept))


def metric_depth(capture: Capture, name: str, kept: KeptFrames = KeptFrames()) -> Depth:
    """Depth in metres of all training frames of a capture whose unit is the metre."""
    return Depth(Provenance("depth-anything-v2-metric", needs_weights=True, figures={"model": name}), *_all_frames(capture, name, False, kept))


def _all_frames(capture: Capture, name: str, invert: bool, kept: KeptFrames) -> Stacks:
    model = load_pretrained("DepthAnythingForDepthEstimation", name, device_here())

    def frame(view: int, time: int) -> list[NDArray[np.float32]]:
        raw = estimate(model, capture.image(view, time))
        return [np.where(raw > 0, 1.0 / np.maximum(raw, 1e-3), 0.0).astype(np.float32) if invert else np.maximum(raw, 0.0)]

    stacks: list[NDArray[np.float32]] = []
    for view in range(capture.views):
        width, height = (int(n) for n in capture.sizes[view])
        stack = np.zeros((capture.times, height, width), np.float32)
        for time in training_times(capture, view):
            stack[time] = (kept.frame(f"{name}_{view:03d}_{time:05d}", partial(frame, view, time)) or [0.0])[0]
        stacks.append(stack)
    return tuple(stacks), tuple((s > 0).astype(np.float16) for s in stacks)


def _metric_missing(capture: Capture) -> str | None:
    return weights.missing(*METRIC) if capture.metric else ""


def _disparity(names: Sequence[str], capture: Capture, priors: Priors) -> list[Disparity]:
    return [disparity(capture, weights.first_here(*names), priors.kept)]


# The metric model's own depth is never preferred to depth that was measured in the capture's views: rank below the plane sweep.
PROVIDERS = (
    Provider("depth-anything-v2", ("disparity",), (), 20, lambda _: weights.missing(*RELATIVE), partial(_disparity, RELATIVE)),
    Provider("depth-anything-v2-metric", ("disparity",), (), 15, lambda _: weights.missing(*METRIC), partial(_disparity, METRIC)),
    Provider("depth-anything-v2-metres", ("depth",), (), 5, _metric_missing, lambda c, p: [metric_depth(c, weights.first_here(*METRIC), p.kept)]),
)
