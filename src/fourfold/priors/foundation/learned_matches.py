"""Matches between cameras by SIFT and every learned point matcher that is here, as one union (spec sparse_dynamic_cameras.md section 2.1)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Masks, Matches, Priors
from fourfold.priors.foundation import weights
from fourfold.priors.foundation.aliked import Aliked
from fourfold.priors.foundation.xfeat import XFeat
from fourfold.priors.providers import Provider
from fourfold.priors.tracking.matches import FeatureMatcher, match_views

DETECTORS = {"aliked": Aliked, "xfeat": XFeat}


def union_matches(capture: Capture, priors: Priors) -> Matches:
    """The union of SIFT, ALIKED and XFeat, as far as their weights are here."""
    learned = [FeatureMatcher(name=name, detector=detector()) for name, detector in DETECTORS.items() if weights.missing(name) is None]
    found = match_views(capture, priors.require(Masks), (FeatureMatcher(), *learned))
    return replace(found, provenance=replace(found.provenance, needs_weights=True))


def _missing(capture: Capture) -> str | None:
    several = bool(np.any((capture.train & capture.present).sum(axis=0) >= 2))
    return weights.missing(*DETECTORS) if several else ""


PROVIDERS = (Provider("learned_points", ("matches",), ("masks", "cameras"), 9, _missing, lambda c, p: [union_matches(c, p)]),)
