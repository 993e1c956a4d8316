"""Masks of captures of an object alone: the opacity of their images."""

from __future__ import annotations

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.capture.cutout import object_alone
from fourfold.priors.contracts import Masks, Provenance
from fourfold.priors.providers import Provider


def opacity_masks(capture: Capture) -> Masks:
    """+1 where a present image is opaque (alpha above 127), -1 elsewhere; 0 for images that have no opacity."""
    masks = []
    for view in range(capture.views):
        width, height = (int(n) for n in capture.sizes[view])
        stack = np.zeros((capture.times, height, width), np.int8)
        for index in np.flatnonzero(capture.present[view]):
            alpha = capture.alpha(view, int(index))
            if alpha is not None:
                stack[index] = np.where(alpha > 127, 1, -1)
        masks.append(stack)
    return Masks(Provenance("opacity", figures={"evidence": ["given"]}), tuple(masks))


def _missing(capture: Capture) -> str | None:
    given = all(capture.has("masks", int(v)) for v in np.flatnonzero(capture.train.any(axis=1)))
    return "" if given or not object_alone(capture) else None


PROVIDERS = (Provider("opacity", ("masks",), (), 900, _missing, lambda capture, _: [opacity_masks(capture)]),)
"""Below the masks that a capture brings."""
