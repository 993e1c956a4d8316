"""GIM-DKM: dense matches of image pairs.

Repository xuelunshen/gim, commit f09105a (2025-08-03), code MIT, weights stated for research; it is no package: its folder must be on the
Python path. Images are padded to 3 : 4 as its demo does. Its coordinates are [-1, 1] from edge to edge, so pixel centres are ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Masks, Matches, Priors
from fourfold.priors.foundation.checkout import research_module
from fourfold.priors.foundation.matched_pairs import PairMatches, match_capture
from fourfold.priors.foundation.video import device_here
from fourfold.priors.foundation.weights import load_state, missing, require
from fourfold.priors.providers import Provider

SIZE = (672, 896)
SAMPLES = 5000
LEAST = 0.05
"""Certainty below which a match is not handed over."""


class GimDkmMatcher:
    """Matches two images (H, W, 3). FourfoldError if weights or repository are not here."""

    def __init__(self) -> None:
        module: Any = research_module("networks.dkm.models.model_zoo.DKMv3", "networks")
        saved: Any = load_state(require("gim-dkm"))
        state = {k.removeprefix("model."): v for k, v in saved.get("state_dict", saved).items() if "encoder.net.fc" not in k}
        self.network = module.DKMv3(weights=None, h=SIZE[0], w=SIZE[1])
        self.network.load_state_dict(state)
        self.network.eval().to(device_here())

    @torch.no_grad()
    def __call__(self, image_a: NDArray[np.uint8], image_b: NDArray[np.uint8]) -> PairMatches:
        padded = [_padded(image) for image in (image_a, image_b)]
        with torch.random.fork_rng():
            torch.manual_seed(0)
            warp, certainty = self.network.match(padded[0][0], padded[1][0])
            found, sure = self.network.sample(warp, certainty, SAMPLES)
        points = [_pixels(found[:, :2], *padded[0]), _pixels(found[:, 2:], *padded[1])]
        confidence = sure.float().cpu().numpy()
        keep = confidence > LEAST
        for xy, image in zip(points, (image_a, image_b), strict=True):
            keep &= (xy >= 0).all(1) & (xy[:, 0] <= image.shape[1]) & (xy[:, 1] <= image.shape[0])
        return PairMatches(points[0][keep], points[1][keep], np.clip(confidence[keep], 0, 1))


def _padded(image: NDArray[np.uint8]) -> tuple[Tensor, tuple[int, int]]:
    """The image (1, 3, h, w) in [0, 1] in a black frame of the network's aspect ratio, and the frame's left and top width in pixels."""
    height, width = image.shape[:2]
    wanted = SIZE[1] / SIZE[0]
    full_height, full_width = max(height, round(width / wanted)), max(width, round(height * wanted))
    left, top = (full_width - width) // 2, (full_height - height) // 2
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float().to(device_here()) / 255
    return F.pad(tensor, (left, full_width - width - left, top, full_height - height - top)), (left, top)


def _pixels(relative: Tensor, padded: Tensor, corner: tuple[int, int]) -> NDArray[np.float32]:
    size = relative.new_tensor([padded.shape[-1], padded.shape[-2]])
    return ((relative + 1) / 2 * size - relative.new_tensor(corner)).float().cpu().numpy()


def _make(capture: Capture, priors: Priors) -> list[Matches]:
    return [match_capture(capture, GimDkmMatcher(), "gim-dkm", priors.require(Masks))]


PROVIDERS = (Provider("gim-dkm", ("matches",), ("masks",), 31, lambda _: missing("gim-dkm"), _make),)
