"""A matcher of two images run over a capture's pairs of cameras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Masks, Matches, Provenance
from fourfold.priors.foundation.image_pairs import camera_pairs


@dataclass(frozen=True)
class PairMatches:
    """N points seen in two images: xy_a, xy_b (N, 2) float32 pixels with centres at +0.5, and confidence (N,) in [0, 1]."""

    xy_a: NDArray[np.float32]
    xy_b: NDArray[np.float32]
    confidence: NDArray[np.float32]


def _on_movers(found: PairMatches, moving_a: NDArray[np.bool_] | None, moving_b: NDArray[np.bool_] | None) -> PairMatches:
    keep = np.ones(len(found.xy_a), bool)
    for xy, moving in ((found.xy_a, moving_a), (found.xy_b, moving_b)):
        if moving is not None:
            height, width = moving.shape
            column, row = np.clip(np.floor(xy).astype(int), 0, [width - 1, height - 1]).T
            keep &= moving[row, column]
    return PairMatches(found.xy_a[keep], found.xy_b[keep], found.confidence[keep])


PairMatcher = Callable[[NDArray[np.uint8], NDArray[np.uint8]], PairMatches]


def match_capture(capture: Capture, matcher: PairMatcher, name: str, masks: Masks) -> Matches:
    """`matcher` on all pairs of cameras at each moment, or on neighbouring moments of a single camera; training images only.

    Of cameras' pairs what moves in both images is kept: points that are followed should be on movers.
    """
    pairs = camera_pairs(capture)
    found = [matcher(capture.image(*a), capture.image(*b)) for a, b in pairs]
    if capture.views > 1:
        found = [_on_movers(matches, masks.moving(*a), masks.moving(*b)) for matches, (a, b) in zip(found, pairs, strict=True)]
    row = np.concatenate([np.full(len(f.xy_a), i, np.int32) for i, f in enumerate(found)]) if found else np.zeros(0, np.int32)
    xy_a, xy_b = (np.concatenate([getattr(f, k) for f in found] or [np.zeros((0, 2), np.float32)]) for k in ("xy_a", "xy_b"))
    confidence = np.concatenate([f.confidence for f in found] or [np.zeros(0, np.float32)]).astype(np.float16)
    images = np.array([(*a, *b) for a, b in pairs], np.int32).reshape(-1, 4)
    return Matches(Provenance(name, needs_weights=True, figures={"pairs": len(pairs), "matches": len(row)}), images, row, xy_a, xy_b, confidence)
