"""Matches between cameras by GIM-DKM and MASt3R in one union, on what moves: what the sparse dynamic cameras' paper does (spec section 2.1)."""

from __future__ import annotations

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Masks, Matches, Priors, Provenance
from fourfold.priors.foundation.gim_dkm import GimDkmMatcher
from fourfold.priors.foundation.mast3r import Mast3rMatcher
from fourfold.priors.foundation.matched_pairs import match_capture
from fourfold.priors.foundation.weights import missing
from fourfold.priors.providers import Provider

NAME = "gim-dkm+mast3r"


def united(parts: list[Matches], name: str) -> Matches:
    """All matches of `parts`, which were made of the same pairs of images, in one list. What repeats itself is joined where points are linked."""
    images = parts[0].images
    pair, xy_a, xy_b, confidence = (np.concatenate([getattr(part, key) for part in parts]) for key in ("pair", "xy_a", "xy_b", "confidence"))
    figures = {"pairs": len(images), "matches": len(pair), **{part.provenance.provider: len(part.pair) for part in parts}}
    return Matches(Provenance(name, needs_weights=True, figures=figures), images, pair, xy_a, xy_b, confidence)


def _missing(capture: Capture) -> str | None:
    reasons = [missing("gim-dkm"), missing("mast3r")]
    return next((reason for reason in reasons if reason is not None), None)


def _make(capture: Capture, priors: Priors) -> list[Matches]:
    parts = [
        match_capture(capture, GimDkmMatcher(), "gim-dkm", priors.require(Masks)),
        match_capture(capture, Mast3rMatcher(), "mast3r", priors.require(Masks)),
    ]
    return [united(parts, NAME)]


PROVIDERS = (Provider(NAME, ("matches",), ("masks",), 32, _missing, _make),)
