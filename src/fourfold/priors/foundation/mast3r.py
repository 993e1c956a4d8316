"""MASt3R: matches of image pairs by reciprocal nearest descriptors, and metric point maps (`foundation.dust3r` runs those).

Repository naver/mast3r, commit f5209af (2025-06-30); code and weights CC-BY-NC-SA-4.0, not for commercial use. Its matches are whole-number
pixels of the image it reads. Confidence is that of the two descriptors: with q = sqrt(c1 c2) >= 1 it is 1 - 1 / q.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Masks, Matches, Priors
from fourfold.priors.foundation.checkout import research_module
from fourfold.priors.foundation.dust3r import load_network, look, pointmap_provider
from fourfold.priors.foundation.image_pairs import cut
from fourfold.priors.foundation.matched_pairs import PairMatches, match_capture
from fourfold.priors.foundation.video import device_here
from fourfold.priors.foundation.weights import missing
from fourfold.priors.providers import Provider

STRIDE = 4
"""Pixels between the points of the first image that are looked for in the second (the repository's example takes 8)."""
BORDER = 3


class Mast3rMatcher:
    """Matches two images (H, W, 3). FourfoldError if weights or repository are not here."""

    def __init__(self, network: Any = None) -> None:
        self.network = load_network("mast3r") if network is None else network
        self.nearest: Any = research_module("mast3r.fast_nn", "models", "dust3r").fast_reciprocal_NNs

    def __call__(self, image_a: NDArray[np.uint8], image_b: NDArray[np.uint8]) -> PairMatches:
        first, second = cut(image_a), cut(image_b)
        with torch.no_grad():
            one, two = look(self.network, first, second)
        words = one["desc"][0].float(), two["desc"][0].float()
        a, b = self.nearest(*words, subsample_or_initxy1=STRIDE, device=device_here(), dist="dot", block_size=2**13)
        keep = _inside(a, first.size) & _inside(b, second.size)
        a, b = a[keep], b[keep]
        sure = one["desc_conf"][0].float().cpu().numpy()[a[:, 1], a[:, 0]] * two["desc_conf"][0].float().cpu().numpy()[b[:, 1], b[:, 0]]
        return PairMatches(first.pixels(a), second.pixels(b), (1 - 1 / np.sqrt(np.maximum(sure, 1))).astype(np.float32))


def _inside(xy: NDArray[np.integer], size: tuple[int, int]) -> NDArray[np.bool_]:
    return (xy >= BORDER).all(1) & (xy[:, 0] < size[1] - BORDER) & (xy[:, 1] < size[0] - BORDER)


def _make(capture: Capture, priors: Priors) -> list[Matches]:
    return [match_capture(capture, Mast3rMatcher(), "mast3r", priors.require(Masks))]


PROVIDERS = (
    pointmap_provider("mast3r", 29),
    Provider("mast3r-matches", ("matches",), ("masks",), 30, lambda _: missing("mast3r"), _make),
)
